//! What was measured, as it is told: figures of one or two panels, and their tables.

use super::rounds::Spread;

/// The size that is varied.
#[derive(Clone)]
pub struct Axis {
    pub name: &'static str,
    /// Its values: how each is called, and where it lies between the first (0) and the last (1).
    pub ticks: Vec<(&'static str, f64)>,
}

impl Axis {
    pub fn linear(name: &'static str, values: &[(&'static str, f64)]) -> Self {
        Self::scaled(name, values, |value| value)
    }

    pub fn logarithmic(name: &'static str, values: &[(&'static str, f64)]) -> Self {
        Self::scaled(name, values, f64::ln)
    }

    fn scaled(name: &'static str, values: &[(&'static str, f64)], scale: impl Fn(f64) -> f64) -> Self {
        let (first, last) = (scale(values[0].1), scale(values[values.len() - 1].1));
        let place = |value| (scale(value) - first) / (last - first);
        Self { name, ticks: values.iter().map(|&(label, value)| (label, place(value))).collect() }
    }
}

/// What was measured at each value of the axis.
pub struct Curve {
    pub name: &'static str,
    pub spreads: Vec<Spread>,
}

impl Curve {
    pub fn new(name: &'static str, spreads: &[Spread]) -> Self {
        Self { name, spreads: spreads.to_vec() }
    }
}

/// Curves over one axis.
pub struct Panel {
    /// What was done.
    pub title: &'static str,
    pub x: Axis,
    /// The unit of what was measured.
    pub y: &'static str,
    pub curves: Vec<Curve>,
}

impl Panel {
    /// Of one curve.
    pub fn of_engram(title: &'static str, x: &Axis, y: &'static str, spreads: &[Spread]) -> Self {
        Self { title, x: x.clone(), y, curves: vec![Curve::new(super::ENGRAM, spreads)] }
    }

    /// The medians of engram over those of malloc, if that is what its curves are.
    pub fn ratios(&self) -> Option<Vec<f64>> {
        let [ours, system] = self.curves.as_slice() else { return None };
        let ratio = |(ours, system): (&Spread, &Spread)| ours.median / system.median;
        (system.name == super::MALLOC).then(|| ours.spreads.iter().zip(&system.spreads).map(ratio).collect())
    }

    fn print(&self) {
        println!("\n{}, {}: median [quartiles]\n", self.title, self.y);
        let ratios = self.ratios();
        let names = self.curves.iter().map(|curve| curve.name).chain(ratios.iter().map(|_| "engram / malloc"));
        println!("| {} | {} |", self.x.name, names.clone().collect::<Vec<_>>().join(" | "));
        println!("|---:|{}", "---:|".repeat(names.count()));
        for (index, (label, _)) in self.x.ticks.iter().enumerate() {
            let spreads = self.curves.iter().map(|curve| told(curve.spreads[index]));
            let ratio = ratios.iter().map(|ratios| format!("{:.2}", ratios[index]));
            println!("| {label} | {} |", spreads.chain(ratio).collect::<Vec<_>>().join(" | "));
        }
    }
}

fn told(Spread { lower, median, upper }: Spread) -> String {
    format!("{median:.1} [{lower:.1} {upper:.1}]")
}

/// What is drawn in one file.
pub struct Figure {
    pub file: &'static str,
    pub title: &'static str,
    pub panels: Vec<Panel>,
}

impl Figure {
    pub fn print(&self) {
        println!("\n## {}", self.title);
        self.panels.iter().for_each(Panel::print);
    }
}

/// Each curve in a line: its two ends.
pub fn print_summary(figures: &[Figure]) {
    println!("\n## From one end to the other\n");
    println!("| curve | | from | | to | | times |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    for panel in figures.iter().flat_map(|figure| &figure.panels) {
        let (from, to) = (panel.x.ticks[0].0, panel.x.ticks[panel.x.ticks.len() - 1].0);
        for curve in &panel.curves {
            let (first, last) = (curve.spreads[0].median, curve.spreads[curve.spreads.len() - 1].median);
            let (Panel { title, y, x, .. }, Curve { name, .. }) = (panel, curve);
            println!("| {title}; {} | {name}, {y} | {from} | {first:.1} | {to} | {last:.1} | {:.2} |", x.name, last / first);
        }
    }
}
