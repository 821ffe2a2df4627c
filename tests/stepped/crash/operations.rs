//! The operations that are killed after each of their instructions.

use core::alloc::Layout;
use core::ptr::NonNull;

use engram::{Arena, BatchFlags, Column, ColumnId, Request, SpikeTime};

use super::table::{Place, Table};

/// Spike times of none: all blocks of a size come from one cell.
const NONE: SpikeTime = SpikeTime::NONE;

/// Where an operation runs: in a child, in an arena of its own.
pub(crate) struct Stage<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) table: &'a Table,
    /// Lets the parent step from here on, or kill.
    pub(crate) begin: &'a dyn Fn(),
}

/// An operation: its name, and what prepares it and then, after [`Stage::begin`], does it.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Stage<'_>),
}

#[expect(clippy::unnecessary_wraps, reason = "what the arena's functions take")]
pub(crate) const fn column(index: u32) -> Option<ColumnId> {
    Some(ColumnId::new(index))
}

pub(crate) fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 16).unwrap()
}

/// The root that names a block of [`Stage::populate`], and one that names none.
const NAMED: Place = Place::Root(3);
const FREE: Place = Place::Root(5);

impl<'a> Stage<'a> {
    /// Blocks of all kinds in a column, which the operation leaves alone.
    fn populate(&self, index: u32) {
        for size in [16, 100, 100, 700, 5000, 40_000, 300_000] {
            self.alloc_unheld(index, size);
        }
        let held = self.hold(index);
        for size in [100, 1000] {
            self.alloc_unheld(index, size);
        }
        self.alloc(&held, 200);
        let free = self.alloc(&held, 200);
        self.free(&held, free);
    }

    /// The same, in the other column, and published blocks.
    fn populate_other(&self) {
        self.populate(1);
        for (slot, size) in [(NAMED, 100), (Place::Root(4), 300_000)] {
            assert!(self.table.empty().publish(self.arena, 1, size, slot));
        }
    }

    fn hold(&self, index: u32) -> Column<'a> {
        self.arena.column(ColumnId::new(index)).unwrap()
    }

    /// Everything from here on is stepped through.
    fn begin(&self) {
        self.table.stamp_limit.store(16, std::sync::atomic::Ordering::Relaxed);
        (self.begin)();
    }

    fn alloc(&self, held: &Column<'_>, size: usize) -> usize {
        self.alloc_as(held.id().index(), size, || held.alloc(size, 16, NONE))
    }

    fn alloc_unheld(&self, index: u32, size: usize) -> usize {
        self.alloc_as(index, size, || self.arena.alloc(column(index), layout(size), NONE))
    }

    fn alloc_as(&self, index: u32, size: usize, alloc: impl FnOnce() -> engram::Result<NonNull<u8>>) -> usize {
        let entry = self.table.empty();
        assert!(entry.alloc(self.arena, index, size, alloc));
        self.number(&entry)
    }

    fn number(&self, taken: &super::table::Taken<'_>) -> usize {
        (core::ptr::from_ref(taken.entry).addr() - self.table.entries.as_ptr().addr()) / size_of::<super::table::Entry>()
    }

    fn free(&self, held: &Column<'_>, entry: usize) {
        // SAFETY: ours, and not used afterwards.
        self.table.take(entry).unwrap().free(self.arena, |p| unsafe { held.free(p) });
    }

    fn free_unheld(&self, entry: usize) {
        // SAFETY: as above.
        self.table.take(entry).unwrap().free(self.arena, |p| unsafe { self.arena.free(p) });
    }

    fn allocs(&self, held: &Column<'_>, count: usize, size: usize) -> Vec<usize> {
        (0..count).map(|_| self.alloc(held, size)).collect()
    }

    /// A word that names nothing.
    fn word(&self) -> Place {
        let entry = self.alloc_unheld(1, 64);
        Place::Word(self.table.take(entry).unwrap().make_places(self.arena) + 8)
    }

    fn publish(&self, size: usize, place: Place) -> usize {
        let entry = self.table.empty();
        assert!(entry.publish(self.arena, 0, size, place));
        self.number(&entry)
    }

    fn unpublish(&self, entry: usize) {
        self.table.take(entry).unwrap().unpublish(self.arena);
    }

    /// Publishes at a new word and takes it back, all stepped.
    fn publish_and_take_back(&self, size: usize, place: Place) {
        self.begin();
        let entry = self.publish(size, place);
        self.unpublish(entry);
    }

    fn batch(&self, flags: BatchFlags) {
        let entries = [self.table.empty(), self.table.empty(), self.table.empty()];
        let sizes = [100, 100, 5000];
        let spikes = [9, 5, 7].map(SpikeTime::from_nanos);
        let requests: [Request; 3] =
            core::array::from_fn(|index| Request { size: sizes[index], align: 16, column: column(0), spike: spikes[index] });
        let mut out = [core::ptr::null_mut(); 3];
        self.begin();
        for (entry, size) in entries.iter().zip(sizes) {
            entry.intend(0, size);
        }
        assert_eq!(self.arena.alloc_batch(&requests, flags, &mut out), Ok(3));
        for (entry, p) in entries.iter().zip(out) {
            entry.given(self.arena, NonNull::new(p));
        }
    }
}

/// Prepares both columns and holds column 0.
fn prepared<'a>(stage: &Stage<'a>) -> Column<'a> {
    stage.populate_other();
    stage.populate(0);
    stage.hold(0)
}

/// Frees all 16 slots of two spans, so that the stack overflows and spans are left empty.
fn free_spans(stage: &Stage<'_>, held: &Column<'_>, blocks: &[usize], stepped: core::ops::Range<usize>) {
    for (index, &block) in blocks.iter().enumerate() {
        if index == stepped.start {
            stage.begin();
        }
        if index < stepped.end {
            stage.free(held, block);
        }
    }
}

/// Fills a span with blocks that others free some of, and takes those back.
fn take_back(stage: &Stage<'_>, size: usize, slots: usize) {
    let held = prepared(stage);
    let blocks = stage.allocs(&held, slots, size);
    for block in [1, 2, slots - 1] {
        stage.free_unheld(blocks[block]);
    }
    stage.begin();
    stage.allocs(&held, 4, size);
}

pub(crate) const ALL: &[Operation] = &[
    Operation {
        name: "allocation: hot",
        run: |stage| {
            let held = prepared(stage);
            for block in stage.allocs(&held, 3, 100) {
                stage.free(&held, block);
            }
            stage.begin();
            stage.alloc(&held, 100);
        },
    },
    Operation {
        name: "allocation: the first of its class, then stack, word, span",
        run: |stage| {
            let held = prepared(stage);
            stage.begin();
            stage.allocs(&held, 7, 300);
        },
    },
    Operation {
        name: "allocation: a fresh span",
        run: |stage| {
            let held = prepared(stage);
            stage.allocs(&held, 8, 4096);
            stage.begin();
            stage.allocs(&held, 2, 4096);
        },
    },
    Operation {
        name: "allocation: a fresh chunk",
        run: |stage| {
            stage.populate_other();
            let held = stage.hold(0);
            stage.begin();
            stage.alloc(&held, 100);
        },
    },
    Operation {
        name: "allocation: a column's first, not held",
        run: |stage| {
            stage.populate_other();
            stage.begin();
            stage.alloc_unheld(0, 100);
        },
    },
    Operation {
        name: "allocation: not held",
        run: |stage| {
            drop(prepared(stage));
            stage.begin();
            stage.alloc_unheld(0, 100);
            stage.alloc_unheld(0, 2000);
        },
    },
    Operation {
        name: "allocation: held by another",
        run: |stage| {
            let _held = prepared(stage);
            stage.begin();
            stage.alloc_unheld(0, 100);
            stage.alloc_unheld(0, 2000);
        },
    },
    Operation {
        name: "allocation: medium",
        run: |stage| {
            let held = prepared(stage);
            stage.begin();
            stage.allocs(&held, 2, 35_000);
            stage.alloc(&held, 6000);
        },
    },
    Operation {
        name: "allocation: medium, held by another",
        run: |stage| {
            let _held = prepared(stage);
            stage.begin();
            stage.alloc_unheld(0, 35_000);
        },
    },
    Operation {
        name: "allocation and free: 300 KiB",
        run: |stage| {
            let held = prepared(stage);
            stage.begin();
            let block = stage.alloc(&held, 300 << 10);
            stage.free(&held, block);
        },
    },
    Operation {
        name: "allocation and free: 5 MiB",
        run: |stage| {
            stage.alloc_unheld(1, 100);
            stage.begin();
            let block = stage.alloc_unheld(0, 5 << 20);
            stage.free_unheld(block);
        },
    },
    Operation {
        name: "free: held back, three in a row",
        run: |stage| {
            let held = prepared(stage);
            let blocks = stage.allocs(&held, 3, 100);
            stage.begin();
            for block in blocks {
                stage.free(&held, block);
            }
        },
    },
    Operation {
        name: "free: past a full stack",
        run: |stage| {
            let held = prepared(stage);
            let blocks = stage.allocs(&held, 24, 4096);
            free_spans(stage, &held, &blocks, 7..11);
        },
    },
    Operation {
        name: "free: emptying spans",
        run: |stage| {
            let held = prepared(stage);
            let blocks = stage.allocs(&held, 24, 4096);
            free_spans(stage, &held, &blocks, 13..24);
        },
    },
    Operation {
        name: "free: medium, past a full stack",
        run: |stage| {
            let held = prepared(stage);
            let blocks = stage.allocs(&held, 9, 70_000);
            free_spans(stage, &held, &blocks, 2..9);
        },
    },
    Operation {
        name: "free: giving a column back",
        run: |stage| {
            let held = prepared(stage);
            let blocks = stage.allocs(&held, 2, 100);
            stage.begin();
            stage.free(&held, blocks[0]);
            drop(held);
            stage.free_unheld(blocks[1]);
        },
    },
    Operation {
        name: "free: remote",
        run: |stage| {
            let held = prepared(stage);
            let blocks: Vec<_> = stage.allocs(&held, 3, 100).into_iter().chain(stage.allocs(&held, 2, 700)).collect();
            stage.begin();
            for block in blocks {
                stage.free_unheld(block);
            }
        },
    },
    Operation {
        name: "free: by another column's holder",
        run: |stage| {
            let held = prepared(stage);
            let other = stage.hold(1);
            let blocks: Vec<_> = stage.allocs(&held, 2, 100);
            stage.begin();
            for block in blocks {
                stage.free(&other, block);
            }
        },
    },
    Operation {
        name: "free: of a shared span, the last one too",
        run: |stage| {
            let held = prepared(stage);
            let blocks = [stage.alloc_unheld(0, 3000), stage.alloc_unheld(0, 3000), stage.alloc_unheld(0, 20_000)];
            stage.begin();
            stage.free_unheld(blocks[0]);
            stage.free(&held, blocks[1]);
            stage.free_unheld(blocks[2]);
        },
    },
    Operation { name: "taking back: 128 bytes", run: |stage| take_back(stage, 128, 256) },
    Operation { name: "taking back: 1,024 bytes", run: |stage| take_back(stage, 1024, 32) },
    Operation { name: "taking back: 35,000 bytes", run: |stage| take_back(stage, 35_000, 4) },
    Operation {
        name: "reallocation that moves",
        run: |stage| {
            let held = prepared(stage);
            let blocks = stage.allocs(&held, 2, 100);
            stage.begin();
            // SAFETY: ours; the old address is not used afterwards.
            assert!(stage.table.take(blocks[0]).unwrap().realloc(stage.arena, 1000, |p| unsafe { held.realloc(p, 1000, NONE) }));
            // SAFETY: as above.
            assert!(stage.table.take(blocks[1]).unwrap().realloc(stage.arena, 5000, |p| unsafe { stage.arena.realloc(p, 5000, NONE) }));
        },
    },
    Operation {
        name: "reallocation where it is: longer, over a chunk, and shorter again",
        run: |stage| {
            let held = stage.hold(0);
            let block = stage.alloc(&held, 300_000);
            // SAFETY: ours; the old address is not used afterwards.
            let realloc = |size| stage.table.take(block).unwrap().realloc(stage.arena, size, |p| unsafe { held.realloc(p, size, NONE) });
            stage.begin();
            for size in [700_000, 3 << 20, 500_000] {
                let before = stage.table.take(block).unwrap().block(stage.arena);
                assert!(realloc(size));
                assert_eq!(stage.table.take(block).unwrap().block(stage.arena), before);
            }
        },
    },
    Operation {
        name: "publication: the first of its class, and taken back",
        run: |stage| {
            let _held = prepared(stage);
            let place = stage.word();
            stage.publish_and_take_back(100, place);
        },
    },
    Operation {
        name: "publication: beside others, and taken back",
        run: |stage| {
            let _held = prepared(stage);
            let (place, other) = (stage.word(), stage.word());
            stage.publish(100, other);
            stage.publish_and_take_back(100, place);
        },
    },
    Operation {
        name: "publication: medium, and taken back",
        run: |stage| {
            let _held = prepared(stage);
            let place = stage.word();
            stage.publish_and_take_back(20_000, place);
        },
    },
    Operation {
        name: "publication: large, and taken back",
        run: |stage| {
            let _held = prepared(stage);
            let place = stage.word();
            stage.publish_and_take_back(300 << 10, place);
        },
    },
    Operation {
        name: "publication: 5 MiB, and taken back",
        run: |stage| {
            let place = stage.word();
            stage.publish_and_take_back(5 << 20, place);
        },
    },
    Operation {
        name: "publication: in a root, and taken back",
        run: |stage| {
            let _held = prepared(stage);
            stage.publish_and_take_back(100, FREE);
        },
    },
    Operation {
        name: "publication: in the first block of all",
        run: |stage| {
            stage.begin();
            let block = stage.publish(100, FREE);
            stage.unpublish(block);
        },
    },
    Operation {
        name: "reset",
        run: |stage| {
            let held = prepared(stage);
            let blocks = [20, 100, 100, 700, 4096, 35_000].map(|size| stage.alloc(&held, size));
            stage.free(&held, blocks[1]);
            stage.free_unheld(blocks[2]);
            stage.begin();
            // SAFETY: nothing uses the column's blocks afterwards.
            stage.table.reset(0, || unsafe { held.reset() });
        },
    },
    Operation {
        name: "batch of 3",
        run: |stage| {
            drop(prepared(stage));
            stage.batch(BatchFlags::empty());
        },
    },
    Operation {
        name: "batch of 3, all or none, ordered",
        run: |stage| {
            drop(prepared(stage));
            stage.batch(BatchFlags::ATOMIC | BatchFlags::ORDERED);
        },
    },
    Operation {
        name: "batch of 3, of a held column",
        run: |stage| {
            let held = prepared(stage);
            let entries = [stage.table.empty(), stage.table.empty(), stage.table.empty()];
            let mut out = [core::ptr::null_mut(); 3];
            stage.begin();
            for entry in &entries {
                entry.intend(0, 100);
            }
            assert_eq!(held.alloc_batch(100, 16, NONE, &mut out), 3);
            for (entry, p) in entries.iter().zip(out) {
                entry.given(stage.arena, NonNull::new(p));
            }
        },
    },
];
