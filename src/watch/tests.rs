//! Region files seen from outside: sound ones, damaged ones, and any bytes.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::column::rows::CellId;
use crate::map::{Owner, PageEntry, SpanId};
use crate::recover::Head;
use crate::size_class::{CHUNK_SPANS, SMALL_CLASSES};
use crate::span::IndexWords;
use crate::{Arena, ArenaBuilder, BlockKind, ColumnId, Error, SpanView, SpikeTime};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("engram-watch-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn builder(path: &Path) -> ArenaBuilder {
    Arena::builder().capacity(128 << 20).columns(3).path(path).sparse(true)
}

/// Blocks of all kinds, some freed in every way. What others freed is on its way, and slots lie in stacks and words.
fn populate(arena: &Arena) {
    let sizes = [16, 48, 100, 500, 640, 4096, 5000, 35_000, 262_144];
    let column = arena.column(ColumnId::new(1)).unwrap();
    let mut away = Vec::new();
    for round in 0..30 {
        for &size in &sizes[..if round < 8 { 9 } else { 7 }] {
            let p = column.alloc(size, 16, SpikeTime::from_nanos(round * 4_000_000)).unwrap();
            match round % 3 {
                0 => column.free_it(p),
                1 => away.push(p),
                _ => {}
            }
        }
    }
    for size in [16, 640, 300_000] {
        let layout = Layout::from_size_align(size, 64).unwrap();
        arena.alloc(Some(ColumnId::new(1)), layout, SpikeTime::NONE).unwrap();
        arena.publish_root(Some(ColumnId::new(1)), layout, SpikeTime::NONE, size % 7).unwrap();
    }
    for p in away {
        // SAFETY: ours, and not used again.
        unsafe { arena.free(p).unwrap() };
    }
    drop(column);
    arena.alloc(Some(ColumnId::new(0)), Layout::new::<u64>(), SpikeTime::NONE).unwrap();
}

trait FreeIt {
    fn free_it(&self, p: NonNull<u8>);
}

impl FreeIt for crate::Column<'_> {
    fn free_it(&self, p: NonNull<u8>) {
        // SAFETY: ours, and not used again.
        unsafe { self.free(p).unwrap() };
    }
}

/// Runs everything that can be asked, and believes nothing that it says. How much is found to be wrong.
fn look_at_everything(path: &Path) -> Result<usize> {
    let mut view = RegionView::open(path)?;
    view.info()?;
    view.refresh()?;
    let metrics = view.metrics();
    assert!(metrics.bytes_live <= metrics.bytes_capacity && metrics.bytes_committed <= metrics.bytes_capacity);
    assert!(view.columns().len() <= metrics.columns as usize);
    assert_eq!(view.map().len() as u64, metrics.bytes_capacity >> 21);
    Ok(view.findings(1000).len())
}

#[test]
fn a_copy_says_what_the_arena_says_while_it_is_open_and_when_it_is_closed() {
    let scratch = Scratch::new("says");
    let arena = builder(&scratch.0).build().unwrap();
    populate(&arena);
    arena.verify().unwrap();
    let mut view = RegionView::open(&scratch.0).unwrap();
    let expected = arena.metrics();
    let seen = view.metrics();
    assert_eq!(
        (seen.bytes_live, seen.live_blocks(), seen.bytes_committed),
        (expected.bytes_live, expected.live_blocks(), expected.bytes_committed)
    );
    assert_eq!((seen.allocs, seen.frees, seen.remote_frees), (expected.allocs, expected.frees, expected.remote_frees));
    assert_eq!(view.map(), arena.map());
    assert_eq!(view.findings(10), []);
    let columns = view.columns();
    assert_eq!(columns.iter().map(|column| column.column).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(columns.iter().map(|column| column.live_blocks).sum::<u64>(), expected.live_blocks());
    assert_eq!(columns.iter().map(|column| column.bytes_live).sum::<u64>(), expected.bytes_live);
    let sum = |of: fn(&ColumnView) -> u64| columns.iter().map(of).sum::<u64>();
    let done = (sum(|column| column.allocs), sum(|column| column.frees), sum(|column| column.remote_frees));
    assert_eq!(done, (expected.allocs, expected.frees, expected.remote_frees));
    assert!(expected.frees < expected.allocs && columns[1].remote_frees > 0 && !columns[1].held);
    let info = view.info().unwrap();
    assert_eq!((info.state, info.columns, info.capacity, info.version), (RegionState::Open, 3, 128 << 20, VERSION));
    assert_eq!(info.file_bytes, info.metadata.end);
    assert!(info.roots.iter().filter(|&&root| root != 0).count() == 3, "{:?}", info.roots);
    let held = arena.column(ColumnId::new(1)).unwrap();
    // The last free of each kind is held back.
    for size in [64, 5000] {
        held.free_it(held.alloc(size, 16, SpikeTime::NONE).unwrap());
    }
    view.refresh().unwrap();
    let columns = view.columns();
    assert!(columns[1].held);
    let expected = arena.metrics();
    assert_eq!(columns.iter().map(|column| column.live_blocks).sum::<u64>(), expected.live_blocks());
    assert_eq!(columns.iter().map(|column| column.bytes_live).sum::<u64>(), expected.bytes_live);
    let large = held.alloc(8 << 20, 16, SpikeTime::NONE).unwrap();
    assert!(arena.metrics().bytes_peak >= 8 << 20);
    held.free_it(large);
    drop(held);
    let (expected, map) = (arena.metrics(), arena.map());
    view.refresh().unwrap();
    assert_eq!(view.metrics().bytes_peak, expected.bytes_peak);
    assert!(expected.bytes_peak > expected.bytes_live);
    drop(arena);
    assert_eq!(view.state(), RegionState::Unclosed, "by the copy from before");
    view.refresh().unwrap();
    assert_eq!((view.state(), view.map(), view.findings(10)), (RegionState::Closed, map, vec![]));
}

#[test]
fn a_file_that_is_open_can_be_looked_at_and_one_that_is_looked_at_can_be_opened() {
    let scratch = Scratch::new("beside");
    drop(builder(&scratch.0).build().unwrap());
    let looking = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        let view = RegionView::open(&scratch.0).unwrap();
        let looking = &looking;
        scope.spawn(move || {
            while looking.load(std::sync::atomic::Ordering::Relaxed) {
                view.state();
            }
        });
        for _ in 0..50 {
            let opened = builder(&scratch.0).build();
            let state = RegionView::open(&scratch.0).map(|view| view.state());
            let ok = opened.is_ok() && state == Ok(RegionState::Open);
            if !ok {
                looking.store(false, std::sync::atomic::Ordering::Relaxed);
            }
            assert!(ok, "{state:?}");
        }
        looking.store(false, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn what_is_no_region_is_refused_by_name_and_with_the_reason() {
    let scratch = Scratch::new("refused");
    let why = |path: &Path| match RegionView::open(path).map(|_| ()).unwrap_err() {
        Error::Format { name, why } if name == path.to_string_lossy() => why,
        other => panic!("{other}"),
    };
    assert!(matches!(RegionView::open(&scratch.0), Err(Error::File { what: "open it", code: libc::ENOENT, .. })));
    assert_eq!(why(&std::env::temp_dir()), "it is no ordinary file");
    std::fs::write(&scratch.0, "").unwrap();
    assert!(why(&scratch.0).contains("no region yet"));
    std::fs::write(&scratch.0, "short").unwrap();
    assert_eq!(why(&scratch.0), "it is too short for a header");
    std::fs::write(&scratch.0, [b'x'; 10_000]).unwrap();
    assert!(why(&scratch.0).contains("no region file"));
    std::fs::remove_file(&scratch.0).unwrap();

    let arena = builder(&scratch.0).build().unwrap();
    populate(&arena);
    drop(arena);
    let view = RegionView::open(&scratch.0).unwrap();
    let (bytes, seen) = (view.info().unwrap().file_bytes, view.metrics());
    let file = OpenOptions::new().write(true).open(&scratch.0).unwrap();
    for length in [bytes - 1, bytes / 2, 4096] {
        file.set_len(length).unwrap();
        assert_eq!(why(&scratch.0), crate::region::TRUNCATED, "{length}");
    }
    file.set_len(0).unwrap();
    assert!(why(&scratch.0).contains("no region yet"));
    assert_eq!(view.metrics(), seen, "the copy is as it was");
}

/// A number from a seed (Steele, Lea and Flood's splitmix64).
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[test]
fn whatever_bytes_the_metadata_holds_every_look_ends() {
    let scratch = Scratch::new("bytes");
    let arena = builder(&scratch.0).build().unwrap();
    populate(&arena);
    drop(arena);
    let view = RegionView::open(&scratch.0).unwrap();
    let metadata = view.core.region.extent().metadata..view.core.region.extent().bytes();
    let written = view.core.region.written(metadata.clone());
    let file = OpenOptions::new().read(true).write(true).open(&scratch.0).unwrap();
    let read = |at: usize, bytes: usize| {
        let mut read = vec![0; bytes];
        file.read_exact_at(&mut read, at as u64).unwrap();
        read
    };
    let mut found = 0;
    for seed in 0..300_u64 {
        let mut state = seed;
        // One word, a few, or so many that hardly anything fits; mostly where something is.
        let words = [1, 8, 400][seed as usize % 3];
        let mut before = Vec::new();
        for _ in 0..words {
            let part = if random(&mut state).is_multiple_of(8) { &metadata } else { &written[random(&mut state) as usize % written.len()] };
            let at = part.start + random(&mut state) as usize % (part.len() / 8) * 8;
            before.push((at, read(at, 8)));
            let word = u64::from_ne_bytes(read(at, 8).try_into().unwrap());
            let changed = match random(&mut state) % 4 {
                0 => word ^ 1 << (random(&mut state) % 64),
                1 => random(&mut state),
                2 => u64::MAX,
                _ => word.wrapping_add(random(&mut state) % 5).wrapping_sub(2),
            };
            file.write_all_at(&changed.to_ne_bytes(), at as u64).unwrap();
        }
        found += look_at_everything(&scratch.0).unwrap();
        for (at, bytes) in before.iter().rev() {
            file.write_all_at(bytes, *at as u64).unwrap();
        }
    }
    assert!(found > 1000, "{found}");
    assert_eq!(look_at_everything(&scratch.0), Ok(0), "all is as before");
}

#[test]
fn whatever_the_header_holds_it_is_read_or_refused() {
    let scratch = Scratch::new("header");
    let arena = builder(&scratch.0).build().unwrap();
    populate(&arena);
    drop(arena);
    let file = OpenOptions::new().write(true).open(&scratch.0).unwrap();
    let mut bytes = vec![0; 512];
    File::open(&scratch.0).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    for at in 0..bytes.len() {
        for bit in [0, 3, 7] {
            file.write_all_at(&[bytes[at] ^ 1 << bit], at as u64).unwrap();
            if let Err(error) = look_at_everything(&scratch.0) {
                assert!(matches!(error, Error::Format { .. }), "{error}");
            }
        }
        file.write_all_at(&bytes[at..=at], at as u64).unwrap();
    }
}

/// The first span of the arena that serves what `wanted` says, and its entry.
fn find(arena: &Arena, wanted: impl Fn(Head) -> bool) -> (SpanId, &PageEntry) {
    let core = &arena.core;
    let mut heads = core
        .heads(core.used_chunks().into_iter(), Core::read_owned)
        .filter_map(|(span, head)| Some((span, head.ok()?)))
        .collect::<Vec<_>>();
    heads.retain(|&(_, head)| wanted(head));
    (heads[0].0, core.page(heads[0].0))
}

/// A damage by hand: what it is called, whether it is about what is derived, and how it is made.
type Damage = (&'static str, bool, fn(&Arena));

fn slots(head: Head) -> bool {
    matches!(head, Head::Slots { index: 1, shared: false, cell } if cell.class() < SMALL_CLASSES)
}

fn run(head: Head) -> bool {
    matches!(head, Head::Slots { index: 1, shared: false, .. }) && head.spans() > 1
}

fn large(head: Head) -> bool {
    matches!(head, Head::Large { .. })
}

fn shared(head: Head) -> bool {
    matches!(head, Head::Slots { shared: true, .. })
}

/// A cell of column 1 for which `wanted` holds.
fn cell_where(arena: &Arena, wanted: impl Fn(&crate::column::cell::Cell) -> bool) -> CellId {
    let core = &arena.core;
    core.block(1).holder.cells_near_used(core.rows()).find(|id| wanted(&core.cell(1, id.offset()))).unwrap()
}

const DAMAGES: [Damage; 24] = [
    ("M3", false, |arena| {
        let (_, page) = find(arena, slots);
        page.set(Owner::column(3), page.cell());
    }),
    ("M3", false, |arena| {
        let (_, page) = find(arena, slots);
        page.set(page.owner(), page.cell() + 64);
    }),
    ("M3", false, |arena| arena.core.span(find(arena, large).0).spans.store(1 << 20, Relaxed)),
    ("M3", true, |arena| arena.core.page(SpanId(find(arena, run).0.0 + 1)).leave()),
    ("M3", true, |arena| {
        let (head, page) = find(arena, run);
        arena.core.page(SpanId(head.0 + 1)).write(page.read().after(2));
    }),
    ("M3", true, |arena| {
        let (_, page) = find(arena, run);
        page.set(Owner::column(1), page.cell());
    }),
    ("M1", false, |arena| {
        let (span, _) = find(arena, |head| matches!(head, Head::Slots { cell, shared: false, .. } if cell.class() == 2));
        arena.core.live_word(span.first()).fetch_or(2, Relaxed);
    }),
    ("M1", false, |arena| {
        let last = SpanId(arena.core.spans.len() as u32 - 1);
        arena.core.live_word(last.first()).store(1, Relaxed);
    }),
    ("M2", true, |arena| {
        let (span, _) = find(arena, slots);
        for word in span.first().word()..span.first().word() + 32 {
            arena.core.remote.at(word).store(u64::MAX, Relaxed);
        }
    }),
    ("H1", true, |arena| {
        arena.core.span(find(arena, shared).0).shared.open(crate::span::SharedKey { column: 0, cell: 0 }, 1);
    }),
    ("S2", true, |arena| arena.core.chunk(find(arena, slots).0.chunk()).map.give(0, 64)),
    ("S2", true, |arena| arena.core.index.give(find(arena, slots).0.chunk())),
    ("S2", true, |arena| arena.core.index.word(1, 0).store(0, Relaxed)),
    ("S2", true, |arena| {
        assert!(arena.core.index.claim(ChunkId(60)), "it is free");
    }),
    ("S2", true, |arena| {
        let (chunk, _) = arena.core.index.claim_first();
        assert!(chunk.is_some(), "the lowest free one, beside those that are used");
    }),
    ("S3", true, |arena| {
        let id = cell_where(arena, |cell| cell.stack().count() > 1 && !cell.is_medium());
        let cell = arena.core.cell(1, id.offset());
        let first = cell.pop().unwrap();
        cell.pop().unwrap();
        assert!(cell.push(first) && cell.push(first));
    }),
    ("S3", true, |arena| {
        let with_room = |span: SpanId| arena.core.span(span).summary.load(Relaxed).count_ones() > 1;
        let id = cell_where(arena, |cell| with_room(cell.list()));
        let meta = arena.core.span(arena.core.cell(1, id.offset()).list());
        let summary = meta.summary.load(Relaxed);
        meta.summary.store(summary & (summary - 1), Relaxed);
    }),
    ("S4", true, |arena| {
        let meta = arena.core.span(find(arena, slots).0);
        meta.away.store(meta.away.load(Relaxed) + 1, Relaxed);
    }),
    ("S5", true, |arena| {
        let id = cell_where(arena, |cell| cell.list() != SpanId::NONE);
        arena.core.cell(1, id.offset()).set_list(SpanId::NONE);
    }),
    ("S1", true, |arena| {
        let id = cell_where(arena, |cell| cell.list() != SpanId::NONE);
        arena.core.cell(1, id.offset()).set_list(SpanId(1 << 30));
    }),
    ("S6", true, |arena| {
        let queued =
            (CHUNK_SPANS as u32..arena.core.spans.len() as u32).map(SpanId).find(|&span| arena.core.span(span).pending.is_queued());
        arena.core.span(queued.expect("others freed blocks")).pending.take();
    }),
    ("S8", true, |arena| {
        let list = &arena.core.chunk(find(arena, slots).0.chunk()).list;
        list.store(list.load(Relaxed) + 1, Relaxed);
    }),
    ("S8", true, |arena| {
        let told = &arena.core.chunk(find(arena, slots).0.chunk()).told;
        told.store(2 - told.load(Relaxed), Relaxed);
    }),
    ("committed", true, |arena| arena.core.block(1).open.refund(1)),
];

#[test]
fn every_damage_is_called_by_its_name_and_what_is_derived_is_made_anew_by_opening() {
    let scratch = Scratch::new("damages");
    for (number, (name, derived, damage)) in DAMAGES.into_iter().enumerate() {
        let arena = builder(&scratch.0).build().unwrap();
        populate(&arena);
        arena.verify().unwrap();
        let before = arena.metrics();
        damage(&arena);
        assert!(arena.verify().is_err(), "{number}");
        drop(arena);
        let found = RegionView::open(&scratch.0).unwrap().findings(1000);
        let named = found.iter().any(|finding| (finding.invariant, finding.derived) == (name, derived));
        assert!(named, "damage {number}, {name}: {found:#?}");
        let opened = builder(&scratch.0).build();
        if derived {
            assert!(found.iter().all(|finding| finding.derived), "damage {number}, {name}: {found:#?}");
            let arena = opened.unwrap();
            arena.verify().unwrap();
            let after = arena.metrics();
            // Of the large remote map, more blocks are freed than were.
            if name != "M2" {
                assert_eq!((after.bytes_live, after.live_blocks()), (before.bytes_live, before.live_blocks()), "damage {number}");
            }
            drop(arena);
            assert_eq!(RegionView::open(&scratch.0).unwrap().findings(1000), [], "damage {number}");
        } else {
            assert!(matches!(opened.unwrap_err(), Error::Format { why, .. } if why.contains(name)), "damage {number}");
        }
        std::fs::remove_file(&scratch.0).unwrap();
    }
}

#[test]
fn findings_of_each_invariant_end_at_the_number_that_was_asked_for() {
    let scratch = Scratch::new("many");
    let arena = builder(&scratch.0).build().unwrap();
    populate(&arena);
    for word in 0..arena.core.live.len() {
        arena.core.live.at(word).store(u64::MAX, Relaxed);
    }
    drop(arena);
    let view = RegionView::open(&scratch.0).unwrap();
    let named = |most, name| view.findings(most).iter().filter(|finding| finding.invariant == name).count();
    assert_eq!((named(7, "M1"), named(7, "S4"), view.findings(0).len()), (7, 7, 0));
    assert!(named(usize::MAX, "M1") > 100);
}

#[test]
fn a_list_that_goes_in_a_circle_is_followed_once_whatever_number_was_asked_for() {
    let scratch = Scratch::new("circle");
    let arena = builder(&scratch.0).build().unwrap();
    populate(&arena);
    let id = cell_where(&arena, |cell| cell.list() != SpanId::NONE);
    let span = arena.core.cell(1, id.offset()).list();
    arena.core.span(span).next.store(span.0, Relaxed);
    let found = RegionView::open(&scratch.0).unwrap().findings(usize::MAX);
    assert!(found.iter().any(|finding| finding.invariant == "S5" && finding.what.contains("circle")), "{found:#?}");
    assert!(found.len() < 5, "{found:#?}");
}

#[test]
fn spans_say_what_their_blocks_are_for() {
    let scratch = Scratch::new("kinds");
    let arena = builder(&scratch.0).build().unwrap();
    populate(&arena);
    let view = RegionView::open(&scratch.0).unwrap();
    let kinds: Vec<_> = view
        .map()
        .iter()
        .flat_map(|chunk| chunk.spans)
        .filter_map(|span| match span {
            SpanView::Small { kind, .. } | SpanView::Shared { kind, .. } => Some(kind),
            _ => None,
        })
        .collect();
    assert!([BlockKind::Aligned, BlockKind::Medium, BlockKind::Published].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    assert!(kinds.iter().any(|kind| matches!(kind, BlockKind::Zones { first: 4.., .. })), "{kinds:?}");
}

/// Seen with: the length that the header says; a peak that is not told before it is reported.
#[test]
fn a_view_tells_the_length_that_the_file_has_and_no_peak_below_what_is_live() {
    let scratch = Scratch::new("length");
    let arena = builder(&scratch.0).build().unwrap();
    let column = arena.column(ColumnId::new(1)).unwrap();
    (0..100).for_each(|_| _ = column.alloc(1000, 16, SpikeTime::NONE).unwrap());
    let view = RegionView::open(&scratch.0).unwrap();
    let metrics = view.metrics();
    assert!(metrics.bytes_live >= 100_000 && metrics.bytes_peak >= metrics.bytes_live, "{metrics:?}");
    let before = view.info().unwrap().file_bytes;
    OpenOptions::new().write(true).open(&scratch.0).unwrap().set_len(before + 4097).unwrap();
    assert_eq!(RegionView::open(&scratch.0).unwrap().info().unwrap().file_bytes, before + 4097);
}
