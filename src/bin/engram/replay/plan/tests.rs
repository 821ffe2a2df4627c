//! Scripts of small traces.

use super::*;
use crate::trace::decode;
use crate::trace::writer::Writer;

fn planned(writer: &Writer) -> Plan {
    Plan::of(&decode(&writer.finish()).unwrap())
}

#[test]
fn a_step_keeps_what_it_was_made_of() {
    let mut writer = Writer::new(1);
    writer.allocate(0, 1 << 40, 21);
    writer.allocate(0, 0, 0);
    writer.reallocate(0, 1, 300);
    writer.free(0, 1);
    let plan = planned(&writer);
    let steps = &plan.scripts[0].steps;
    let seen: Vec<_> = steps.iter().map(|step| (step.kind(), step.size(), step.align())).collect();
    assert_eq!(seen[0], (Kind::Allocate, 1 << 40, 2 << 20));
    assert_eq!(seen[1], (Kind::Allocate, 1, 1));
    assert_eq!(seen[2], (Kind::Reallocate, 300, 1));
    assert_eq!(seen[3], (Kind::Free, 300, 1));
    assert_eq!(plan.scripts[0].sizes_before, [1]);
}

#[test]
fn an_object_is_handed_over_only_where_the_thread_changes() {
    let mut writer = Writer::new(2);
    writer.allocate(0, 10, 4);
    writer.reallocate(0, 0, 20);
    writer.reallocate(1, 0, 30);
    writer.reallocate(1, 0, 40);
    writer.free(0, 0);
    let plan = planned(&writer);
    let marks = |step: &Step| (step.awaits(), step.turn, step.publishes());
    let first: Vec<_> = plan.scripts[0].steps.iter().map(marks).collect();
    let second: Vec<_> = plan.scripts[1].steps.iter().map(marks).collect();
    assert_eq!(first, [(false, 0, false), (false, 0, true), (true, 2, false)]);
    assert_eq!(second, [(true, 1, false), (false, 1, true)]);
}

#[test]
fn the_peak_is_where_it_is_reached_first() {
    let mut writer = Writer::new(1);
    for size in [60, 0] {
        writer.allocate(0, 100, 4);
        writer.allocate(0, size, 4);
    }
    writer.free(0, 0);
    writer.allocate(0, 100, 4);
    let demand = planned(&writer).demand;
    assert_eq!((demand.peak_live, demand.peak_at), (260, (0, 2)));
}

#[test]
fn the_demand_of_a_trace_is_what_is_live_in_its_order_and_what_could_be() {
    let mut writer = Writer::new(2);
    writer.allocate(0, 800, 4);
    writer.free(1, 0);
    writer.allocate(1, 1_600, 4);
    writer.reallocate(1, 1, 80);
    writer.allocate(0, 1_000, 4);
    let plan = planned(&writer);
    let rounded = |size: u128| size + size / 8 + 16;
    // Thread 0 allocates both of its blocks before the other frees one; thread 1 moves its block while both places count,
    // and has freed the other's by then.
    let bound = rounded(800) + rounded(1_000) + (rounded(1_600) + rounded(80) - rounded(800));
    assert_eq!(plan.demand, Demand { peak_live: 1_600, bound, begun: 4 << 15, peak_at: (1, 1), cross_thread_frees: 1 });
    let left: Vec<_> = plan.leftovers.iter().map(|left| (left.object, left.thread, left.size)).collect();
    assert_eq!(left, [(1, 1, 80), (2, 0, 1_000)]);
}

#[test]
fn the_demand_of_a_block_with_an_alignment_is_what_lies_up_to_the_next_one() {
    let bound = |align_log2: u8, size: u64| {
        let mut writer = Writer::new(1);
        writer.allocate(0, size, align_log2);
        planned(&writer).demand.bound
    };
    let eighth_more = |size: u128| size + size / 8 + 16;
    assert_eq!((bound(0, 100), bound(4, 100)), (eighth_more(100), eighth_more(100)));
    assert_eq!((bound(6, 100), bound(12, 4_096), bound(12, 4_097)), (eighth_more(128), eighth_more(4_096), eighth_more(8_192)));
    assert_eq!((bound(21, 0), bound(21, 1)), (eighth_more(2 << 20), eighth_more(2 << 20)));
}

#[test]
fn each_thread_begins_a_span_of_each_kind_that_it_asks_for() {
    let mut writer = Writer::new(2);
    let begun = |writer: &Writer| planned(writer).demand.begun;
    for size in [0, 1, 16, 17, 32, 1_000, 1_024] {
        writer.allocate(0, size, 4);
    }
    assert_eq!(begun(&writer), 3 << 15);
    writer.allocate(1, 16, 4);
    writer.allocate(0, 16, 6);
    writer.reallocate(0, 0, 1_025);
    assert_eq!(begun(&writer), 6 << 15);
    writer.allocate(0, 36_000, 4);
    writer.allocate(0, 1 << 20, 4);
    writer.free(0, 1);
    assert_eq!(begun(&writer), (6 << 15) + 8 * 36_864);
}
