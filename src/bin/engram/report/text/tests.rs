//! The text of a report whose numbers are extreme, and of one in which everything went wrong.

use super::*;
use crate::clock::Clock;
use crate::replay::peak::Peak;
use crate::replay::play::Faults;
use crate::report::concepts::{ActivationPages, ConceptsReport, Load, Maintenance, PoolRow, Refusals, Spikes, Worth};
use crate::report::replay::{MetricsReport, ReplayReport, Single};
use crate::report::wordnet::{Order, VisitRow, WordNetReport};
use crate::stats::Pair;

const fn spread(ns: f64) -> Spread {
    Spread { median: ns, lowest: ns / 2.0, highest: ns * 1.5 }
}

fn both<T: Copy>(of: T) -> Pair<T> {
    Pair { malloc: of, engram: of }
}

fn replay() -> ReplayReport {
    let single = Single { p50: 20.0, p99: 99.5, p9999: 1e6, worst: 123_456_789.0, worst_common_to_all_rounds: 1e5 };
    ReplayReport {
        name: "a trace".to_owned(),
        operations: 67_108_864,
        objects: 33_554_432,
        threads: 64,
        cross_thread_frees: 12_345_678,
        peak_live_bytes: 1 << 30,
        columns: 65_536,
        capacity_bytes: 1 << 40,
        prefaulted: true,
        open_ms: 1_234.5,
        rounds: 1,
        verified: true,
        driver_ns: spread(3.0),
        calls_ns: Pair { malloc: spread(20.0), engram: spread(5.0) },
        page_faults: Some(both(spread(31_000.0))),
        content_ns: Some(both(spread(123_456.0))),
        single_ns: both(single),
        memory: Pair { malloc: Peak::GrowthBytes(3 << 29), engram: Peak::NotAvailable("this system does not tell".to_owned()) },
        faults: both(Faults::default()),
        metrics: MetricsReport {
            bytes_capacity: 1 << 40,
            bytes_committed: 1 << 33,
            bytes_live: 1 << 32,
            bytes_peak: 1 << 33,
            allocs: 1 << 32,
            frees: 1 << 32,
            remote_frees: 1 << 32,
            failed: 0,
            misuse: 0,
            retries: 1 << 32,
            batches: 0,
        },
        map: Vec::new(),
    }
}

fn wordnet() -> WordNetReport {
    let row = |order, cold, dependent| VisitRow {
        order,
        dependent,
        cold,
        malloc: spread(100.0),
        singles: spread(90.0),
        batch: spread(4_321.0),
        plain: spread(1_234.0),
    };
    WordNetReport {
        concepts: 117_659,
        record_bytes: 13_000_000,
        columns: 64,
        spikes: (2_107_210, 90_000_000),
        rounds: 7,
        committed_bytes: (20 << 20, 14 << 20),
        rows: vec![row(Order::All, false, false), row(Order::All, true, true), row(Order::ColumnByColumn, true, true)],
        damaged: 0,
    }
}

fn concepts() -> ConceptsReport {
    let load = || Load { a_second: 1.2e6, p50_ns: 4_500, p99_ns: 33_000, p9999_ns: 4_130_000, worst_ns: u32::MAX, hits: 1.0 };
    ConceptsReport {
        concepts: 117_659,
        edges: 183_789,
        columns: 64,
        fresh: load(),
        again: load(),
        read_ns: 123.4,
        utilization: 0.8,
        worth: vec![Worth { name: "without recent use".to_owned(), cut: 1.0 }],
        pages: ActivationPages { hashed: 1_234.5, loaded: 35.6, maintained: 17.9 },
        maintenance: Maintenance { seconds: 1_234.5, calls: 1 << 20, relocations_a_concept: 1.25, cut: 0.138, utilization: 0.5 },
        spikes: vec![Spikes {
            priority: "critical",
            earliest_ms: 2.107,
            median_ms: 123.456,
            latest_ms: 730.123,
            distinct: 1_177,
            of: 117_659,
        }],
        pools: vec![PoolRow {
            pool: "relationship".to_owned(),
            used_bytes: 1 << 33,
            peak_bytes: 1 << 33,
            allocations: 1 << 32,
            expansions: 1 << 20,
        }],
        refusals: Refusals {
            asked: 20_000,
            served_critical: 5_000,
            served_normal: 5_000,
            quota_bytes: 1 << 20,
            used_bytes: 1 << 19,
            message: "pool entity may hold 1048576 bytes, and many words follow that say why".to_owned(),
        },
        page: Some("/tmp/engram-heap-map.html".into()),
        damaged: 0,
    }
}

fn report(replay: ReplayReport, wordnet: WordNetReport) -> Report {
    let clock = Clock { source: "rdtsc, fenced", ns_per_tick: 0.4, overhead_ns: 20.0 };
    Report { engram: "1.2.3", clock, replays: vec![replay], wordnet: Some(wordnet), concepts: Some(concepts()) }
}

fn written(report: &Report, style: Style) -> String {
    let mut out = Vec::new();
    write(&mut out, report, style).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn no_line_is_wider_than_the_screen() {
    let report = report(replay(), wordnet());
    for style in [Style::PLAIN, Style { colour: true, blocks: true }] {
        for line in written(&report, style).lines() {
            assert!(width(line) <= WIDTH, "{} columns: {line}", width(line));
        }
    }
}

#[test]
fn plain_text_is_ascii_without_escapes_and_says_what_was_measured() {
    let text = written(&report(replay(), wordnet()), Style::PLAIN);
    assert!(text.is_ascii() && !text.contains('\x1b'));
    let row = |label: &str| text.lines().find(|line| line.starts_with(label)).unwrap_or_default().to_owned();
    let fields = |label: &str| row(label)[label.len()..].split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(fields("ns an operation, calls alone"), ["20.0", "10.0-30.0", "5.00", "2.50-7.50", "0.25"]);
    assert_eq!(fields("page faults in a round of calls"), ["31,000", "31,000"]);
    assert_eq!(fields("peak resident over peak live"), ["1.500", "1.5", "GiB", "n/a"]);
    assert!(text.contains("n/a: this system does not tell"));
    assert_eq!(fields("   from a list"), ["100", "50.0-150", "90.0", "45.0-135", "0.90", "4,321", "2.16k-6.48k", "43.2", "1,234"]);
    assert!(text.ends_with("Every content was as it should be, and nothing was refused.\n"));
}

#[test]
fn a_report_complains_of_everything_that_went_wrong() {
    let mut wrong = replay();
    wrong.faults.engram = Faults { refused: 3, damaged: 2, misaligned: 1, free_refused: 4 };
    wrong.faults.malloc = Faults { refused: 9, misaligned: 8, ..Faults::default() };
    let mut visits = wordnet();
    visits.damaged = 5;
    let mut report = report(wrong, visits);
    if let Some(concepts) = &mut report.concepts {
        concepts.damaged = 6;
    }
    assert_eq!(
        report.complaint().unwrap(),
        "a trace: 3 operations refused by engram, 4 frees of live blocks refused by engram, 2 blocks of engram's with \
         content that is not their own, 1 blocks of engram's at a wrong alignment, 9 operations refused by malloc, \
         8 blocks of malloc's at a wrong alignment, a larger --capacity than 1099511627776 \
         bytes may serve them; wordnet: 5 walks found content that is not the concepts' own; \
         concepts: 6 contents are not as they were stored"
    );
    let text = written(&report, Style::PLAIN).replace('\n', " ");
    assert!(text.ends_with(&format!("{} ", report.complaint().unwrap())));
    assert_eq!(super::super::Report { replays: vec![replay()], wordnet: None, concepts: None, ..report }.complaint(), None);
}
