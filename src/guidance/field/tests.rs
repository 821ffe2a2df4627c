use super::*;

#[test]
fn the_winner_alone_learns_and_finds_what_it_saw_attractive() {
    let fields = Fields::try_new(4).unwrap();
    let seen = Folded::few(&[3.0, 4.0]);
    assert!((dot(&seen.0, &seen.0) - 1.0).abs() < 1e-6);
    let before = fields.attraction(1, &seen);
    fields.learn(2, &seen);
    assert!(fields.attraction(2, &seen) > 0.5 && before == 0.0 && fields.attraction(1, &seen) == 0.0);
    let other = Folded::few(&[4.0, -3.0]);
    assert!(fields.attraction(2, &other) < 0.1);
    (0..300).for_each(|_| fields.learn(2, &other));
    assert!(fields.attraction(2, &other) > fields.attraction(2, &seen), "the field follows what is seen");
}

#[test]
fn features_are_folded_and_nothing_stays_nothing() {
    let of = |content: &[u8]| Features::of(crate::guidance::Stimulus::Content(content)).unwrap();
    let cat = of(b"The cat purrs!");
    let folded = Folded::new(&cat);
    assert!((dot(&folded.0, &folded.0) - 1.0).abs() < 1e-5);
    let sums: Vec<i32> = (0..FIELD).map(|place| (0..4).map(|part| i32::from(cat.components()[part * FIELD + place])).sum()).collect();
    assert!(folded.0.iter().zip(&sums).all(|(&number, &sum)| (number > 0.0) == (sum > 0) && (number < 0.0) == (sum < 0)));
    assert!(Folded::new(&of(b"")).is_blank());
    assert!(Folded::few(&[f32::MAX; 9]).is_blank() && Folded::few(&[f32::NAN]).is_blank(), "no length");
}

#[test]
fn with_a_conscience_no_column_takes_everything() {
    let fields = Fields::try_new(4).unwrap();
    let stimulus = |turn: usize| {
        let mut features = [1.0; 16];
        features[turn % 16] += 1.0;
        Folded::few(&features)
    };
    let mut wins = [0; 4];
    (0..4).for_each(|column| fields.learn(column as u32, &stimulus(column)));
    for turn in 0..4000 {
        let stimulus = stimulus(turn * 7);
        let attractions = [0, 1, 2, 3].map(|column| fields.attraction(column, &stimulus));
        let winner = (0..4).max_by(|&a, &b| attractions[a].total_cmp(&attractions[b])).unwrap();
        wins[winner] += 1;
        fields.learn(winner as u32, &stimulus);
    }
    assert!(wins.iter().all(|&wins| (400..=1800).contains(&wins)), "all inputs are alike, yet {wins:?}");
}

#[test]
fn wins_are_forgotten() {
    let fields = Fields::try_new(2).unwrap();
    let stimulus = Folded::few(&[1.0]);
    (0..64).for_each(|_| fields.learn(0, &stimulus));
    assert_eq!((fields.fields[0].wins(0), fields.fields[0].wins(1), fields.fields[0].wins(40)), (64, 32, 0));
    let ashamed = fields.attraction(0, &stimulus);
    (0..640).for_each(|_| fields.learn(1, &stimulus));
    assert!(ashamed < 1.0 && fields.attraction(0, &stimulus) > 1.0);
}

#[test]
fn who_finds_a_field_being_learnt_does_not_wait() {
    let fields = Fields::try_new(1).unwrap();
    fields.fields[0].busy.store(1, Relaxed);
    fields.learn(0, &Folded::few(&[1.0]));
    assert_eq!(fields.total.load(Relaxed), 0);
    assert!(fields.bytes() >= FIELD * 4);
}
