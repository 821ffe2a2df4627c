//! Measuring points in turn, and what is told of what was measured.

use super::work::Random;

/// Rounds that count: four times something and one, so that the quartiles are values that were measured.
const ROUNDS: usize = 13;

/// A point of a curve: each call is one measurement.
pub struct Point<'a>(Box<dyn FnMut() -> f64 + 'a>);

impl<'a> Point<'a> {
    pub fn new(time: impl FnMut() -> f64 + 'a) -> Self {
        Self(Box::new(time))
    }
}

/// Median and quartiles.
#[derive(Clone, Copy)]
pub struct Spread {
    pub lower: f64,
    pub median: f64,
    pub upper: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |quarter| values[quarter * (ROUNDS - 1) / 4];
        Self { lower: at(1), median: at(2), upper: at(3) }
    }
}

/// Measures every point once in each round, in another order each round, after a round that does not count.
pub fn measure(mut points: Vec<Point>) -> Vec<Spread> {
    let mut random = Random::new();
    let mut values = vec![Vec::with_capacity(ROUNDS); points.len()];
    let mut order: Vec<usize> = (0..points.len()).collect();
    for point in &mut points {
        point.0();
    }
    for _ in 0..ROUNDS {
        random.shuffle(&mut order);
        for &index in &order {
            values[index].push(points[index].0());
        }
    }
    values.into_iter().map(Spread::of).collect()
}
