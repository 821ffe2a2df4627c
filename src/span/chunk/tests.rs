use super::*;

#[test]
fn a_run_is_found_exactly_where_all_its_spans_are_free() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let free = state | (state << 1) | (state >> 3);
        let spans = (state >> 32) as u32 % 64 + 1;
        let align = 1 << ((state >> 40) % 7);
        let map = ChunkMap(AtomicU64::new(free));
        let mut fits = (0..=64 - spans).filter(|&place| place % align == 0 && (free >> place) & run_mask(spans) == run_mask(spans));
        let expected = fits.clone().find(|place| place % spans == 0).or_else(|| fits.next());
        assert_eq!(map.claim(spans, align).0, expected);
        if let Some(place) = expected {
            assert_eq!(map.free(), free & !(run_mask(spans) << place));
            map.give(place, spans);
        }
        assert_eq!(map.free(), free);
        let longest = (1..=64).rev().find(|&spans| (0..=64 - spans).any(|place| free >> place & run_mask(spans) == run_mask(spans)));
        assert_eq!(map.list(), list_of_run(longest.unwrap_or(0)), "{free:#x}");
        let place = (state >> 50) as u32 % 64;
        let around = (0..64).flat_map(|first| (first..64).map(move |last| (first, last))).filter(|&(first, last)| {
            let run = run_mask(last - first + 1) << first;
            (first..=last).contains(&place) && free & run == run
        });
        assert_eq!(map.run_around(place), around.map(|(first, last)| last - first + 1).max().unwrap_or(0));
    }
}
