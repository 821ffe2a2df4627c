use super::*;

#[test]
fn what_is_shown_ends_above_the_last_line_of_the_screen() {
    for (lines, columns) in [(24, 0), (24, 20), (24, 21), (24, 500), (6, 2), (6, 3), (5, 9), (1, 1)] {
        let shown = Screen { lines, width: 80 }.room(columns);
        let all = 3 + shown + usize::from(shown < columns);
        assert!(all < lines.max(5), "{all} lines of {lines}");
        assert!(shown == columns || all + 1 == lines.max(5), "{columns} columns: {all} lines of {lines}");
    }
}
/// Seen with: differences that are told as rates; columns that are held not added up.
#[test]
fn rates_are_of_a_second_and_all_columns_are_the_sum_of_each() {
    let (mut before, mut now) = (ColumnView::default(), ColumnView::default());
    (before.allocs, before.frees, before.remote_frees) = (100, 10, 1);
    (now.allocs, now.frees, now.remote_frees, now.held, now.spans) = (150, 30, 2, true, 3);
    let row = Row::new(now, Some((&before, 0.5)));
    assert_eq!((row.allocs_per_second, row.frees_per_second, row.remote_frees_per_second), (Some(100.0), Some(40.0), Some(2.0)));
    let all = row.and(&row).and(&Row::new(before, None));
    assert_eq!((all.held, all.spans, all.allocs_per_second), (2, 6, Some(200.0)));
}
