//! What is drawn, cell by cell.

use super::*;

fn chunk(number: u32, first: &[Span]) -> Chunk {
    let mut spans = first.to_vec();
    spans.resize(SPANS, Span::Free);
    Chunk { chunk: number, spans }
}

fn slots(class_bytes: u32, live: u32, slots: u32) -> Span {
    Span::Slots { column: 3, class_bytes, live, slots, shared: false, blocks: Blocks::Medium }
}

const COLOURED: Style = Style { colour: true, blocks: true };

#[test]
fn plain_cells_are_letters_of_the_class_with_capitals_from_half() {
    let shared = Span::Slots { column: 5, class_bytes: 64, live: 1, slots: 512, shared: true, blocks: Blocks::Zones(0, 0) };
    let large = Span::Large { column: 3 };
    let spans = [slots(16, 0, 2_048), slots(17, 512, 1_024), slots(40 << 10, 3, 8), Span::Run, shared, large, Span::Run];
    let drawn = draw(&[chunk(12, &spans)], Style::PLAIN);
    let row = drawn.lines().next().unwrap();
    assert!(row.starts_with("    12 aBm-s#-.........."), "{row}");
    // 0 + 1/2 + 2 * 3/8 + 1/512 + 2 of 64 spans.
    assert!(row.ends_with("  5 % columns 3-5"), "{row}");
    assert!(drawn.contains("slots of up to  a 16  b 32  c 64  m 64K  # more\n"), "{drawn}");
    assert!(drawn.is_ascii());
}

#[test]
fn a_block_is_as_high_as_its_span_is_full_in_the_colour_of_its_class() {
    let drawn = draw(&[chunk(0, &[slots(16, 0, 7), slots(16, 1, 7), slots(16, 2, 7), slots(64, 7, 7)])], COLOURED);
    let row = drawn.lines().next().unwrap();
    let violet = format!("\x1b[38;5;{};48;5;236m", COLOURS[0]);
    let blue = format!("\x1b[38;5;{};48;5;236m", COLOURS[2]);
    assert!(row.contains(&format!("{violet} ▁▂\x1b[0m{blue}▇\x1b[0m\x1b[2m····")), "{row:?}");
}

#[test]
fn a_run_has_the_fill_of_its_head_which_is_lighter_also_into_the_next_chunk() {
    let mut first = vec![Span::Free; SPANS];
    first[63] = slots(300 << 10, 1, 2);
    let map = [Chunk { chunk: 0, spans: first }, chunk(1, &[Span::Run, Span::Run])];
    let drawn = draw(&map, COLOURED);
    let rows: Vec<_> = drawn.lines().collect();
    assert!(rows[0].contains("48;5;241m▄\x1b[0m"), "{:?}", rows[0]);
    assert!(rows[1].contains("48;5;236m▄▄\x1b[0m"), "{:?}", rows[1]);
}

#[test]
fn free_chunks_in_a_row_are_drawn_together_and_a_lone_one_is_not() {
    let used = |number| chunk(number, &[slots(16, 1, 2_048)]);
    let map = [used(0), chunk(1, &[]), used(2), chunk(3, &[]), chunk(4, &[]), chunk(5, &[])];
    let drawn = draw(&map, Style::PLAIN);
    let rows: Vec<_> = drawn.lines().collect();
    assert!(rows[1].starts_with("     1 ....") && rows[1].ends_with(".   0 %"), "{}", rows[1]);
    assert_eq!(rows[3], "     3 to 5: 3 chunks, all free");
    assert_eq!(in_use(&map), (4 << 20, 126 * 32768));
}

#[test]
fn rows_end_at_their_limit_and_lines_at_the_width() {
    let every_class: Vec<_> = (4..20).map(|exponent| slots(1 << exponent, 1, 2)).chain([Span::Large { column: 65_535 }]).collect();
    let map: Vec<_> = (0..200).map(|number| chunk(100_000 + number, &every_class)).collect();
    for style in [Style::PLAIN, COLOURED] {
        let drawn = draw(&map, style);
        assert!(drawn.contains("       and 104 more chunks\n"), "{drawn}");
        assert!(drawn.lines().all(|line| crate::report::text::width(line) <= WIDTH), "{drawn}");
    }
    assert_eq!(draw(&[], Style::PLAIN).lines().count(), 2);
}
