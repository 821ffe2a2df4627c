use super::*;

#[test]
fn numbers_are_grouped_and_sizes_have_their_unit() {
    assert_eq!(grouped(0), "0");
    assert_eq!(grouped(999), "999");
    assert_eq!(grouped(1_000), "1,000");
    assert_eq!(grouped(1_234_567), "1,234,567");
    assert_eq!(bytes(1_023), "1023 B");
    assert_eq!(bytes(129_452_113), "123.5 MiB");
    assert_eq!(time(6.914), "6.91");
    assert_eq!(time(12_345.4), "12,345");
    assert_eq!(short_time(99.4), "99.4");
    assert_eq!(short_time(999.6), "1.00k");
    assert_eq!(short_time(12_345.0), "12.3k");
    assert_eq!(short_time(123_456_789.0), "123M");
}

#[test]
fn a_ratio_is_coloured_by_who_wins_and_plain_style_has_no_codes() {
    let style = Style { colour: true, blocks: true };
    assert_eq!(style.ratio(0.5), "\x1b[32m0.50\x1b[0m");
    assert_eq!(style.ratio(1.0), "1.00");
    assert_eq!(style.ratio(1.5), "\x1b[31m1.50\x1b[0m");
    assert_eq!(Style::PLAIN.ratio(1.5), "1.50");
}
