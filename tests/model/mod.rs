//! A reference allocator: what an arena must have given, kept and counted, step by step. Any list of
//! numbers is a list of operations, so that property tests and fuzzers drive the same model.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::{NonNull, null_mut};
use std::time::Duration;

use engram::{Arena, BatchFlags, Column, ColumnId, Error, Metrics, Request, SpanView, SpikeTime};

/// An operation and what it is done with: kind, three numbers.
pub(crate) type Step = (u8, u32, u32, u8);

const COLUMNS: u32 = 3;

/// A block that is handed out; every byte of it is `mark`.
#[derive(Clone, Copy)]
struct Block {
    size: usize,
    usable: usize,
    align: usize,
    column: u32,
    mark: u8,
}

/// What must be counted.
#[derive(Default)]
struct Counts {
    allocs: u64,
    frees: u64,
    remote_frees: u64,
    failed: u64,
    misuse: u64,
    batches: u64,
}

struct Model<'a> {
    arena: &'a Arena,
    columns: Vec<Option<Column<'a>>>,
    home: u32,
    live: BTreeMap<usize, Block>,
    /// The last address that was freed.
    dead: Option<usize>,
    counts: Counts,
    number: u8,
}

/// Does all steps in a fresh arena and checks every answer; panics where one is wrong.
pub(crate) fn run(steps: &[Step]) {
    let zones = steps.len().is_multiple_of(2);
    let zero_freed = steps.len().is_multiple_of(5);
    let arena = Arena::builder().capacity(6 << 20).columns(COLUMNS).zones(zones).zero_freed(zero_freed).build().expect("an arena");
    let mut model = Model::new(&arena);
    for (number, &step) in steps.iter().enumerate() {
        model.step(step);
        if number.is_multiple_of(8) {
            model.check();
        }
    }
    model.finish();
}

fn size(number: u32) -> usize {
    let number = number as usize;
    match number % 64 {
        0 => number / 64 % (3 << 20),
        1..4 => 1 + number / 64 % 300_000,
        4..12 => 1 + number / 64 % 8000,
        12..14 => number / 64 % 3,
        _ => 1 + number / 64 % 400,
    }
}

/// What a block of so many bytes takes at most, if no alignment is asked for.
fn most(size: usize) -> usize {
    match size {
        0..128 => size.next_multiple_of(16),
        128..=0x10_0000 => size + size / 8,
        _ => size.next_multiple_of(2 << 20),
    }
}

fn align(number: u8) -> usize {
    match number % 16 {
        0..10 => 16,
        10 => 1,
        11 => 2 << 20,
        more => 16 << ((more - 11) * 2),
    }
}

fn spike(number: u32) -> SpikeTime {
    if number.is_multiple_of(4) { SpikeTime::NONE } else { SpikeTime::from_nanos(number % 200 * 1_000_000) }
}

fn address(p: NonNull<u8>) -> usize {
    p.addr().get()
}

impl<'a> Model<'a> {
    fn new(arena: &'a Arena) -> Self {
        let mut model = Self {
            arena,
            columns: (0..COLUMNS).map(|_| None).collect(),
            home: 0,
            live: BTreeMap::new(),
            dead: None,
            counts: Counts::default(),
            number: 0,
        };
        let block = arena.alloc(None, Layout::new::<u64>(), SpikeTime::NONE).expect("a block");
        model.home = (0..COLUMNS).find(|&index| model.shows(index, block)).expect("the home column");
        // SAFETY: the block is ours, and nothing uses it afterwards.
        unsafe { arena.free(block) }.expect("a block");
        model.counts = Counts { allocs: 1, frees: 1, remote_frees: 1, ..Counts::default() };
        model
    }

    fn shows(&self, index: u32, block: NonNull<u8>) -> bool {
        let mut shown = false;
        let column = self.arena.column(ColumnId::new(index)).expect("nobody holds it");
        column.walk(|seen| {
            shown |= seen.start == block;
            true
        });
        shown
    }

    fn step(&mut self, (kind, a, b, c): Step) {
        match kind % 24 {
            0..6 => self.alloc(a, b, c),
            6 => self.alloc_zeroed(a, b, c),
            7..11 => self.free(a, b),
            11..13 => self.realloc(a, b, c),
            13..15 => self.batch(a, b, c),
            15..17 => self.column_batch(a, b, c),
            17..19 => self.hold(a),
            19 => self.misuse(a, b),
            20 => self.limit(a, b),
            21 if b.is_multiple_of(4) => self.reset(a),
            22 => {
                self.arena.maintain(Duration::from_nanos(u64::from(a))).expect("nobody else maintains");
            }
            _ => self.walk(a),
        }
    }

    /// A column by number, and what that means; sometimes none, or one that there is not.
    fn column(&self, number: u32) -> (Option<ColumnId>, u32) {
        match number % 32 {
            0..4 => (None, self.home),
            4 => (Some(ColumnId::new(COLUMNS)), COLUMNS),
            more => (Some(ColumnId::new(more % COLUMNS)), more % COLUMNS),
        }
    }

    /// The column of a block. Where none is named it may be any, as the heap map tells.
    fn column_of(&self, start: NonNull<u8>) -> u32 {
        let span = (address(start) - address(self.start())) >> 15;
        let map = self.arena.map();
        let chunk = map.iter().find(|chunk| chunk.index as usize == span / 64).expect("a chunk in use");
        let head = (0..=span % 64).rev().map(|place| &chunk.spans[place]).find(|span| !matches!(span, SpanView::Run));
        match head {
            Some(SpanView::Small { column, .. } | SpanView::Shared { column, .. } | SpanView::Large { column }) => *column,
            other => panic!("{other:?}, with a block in it"),
        }
    }

    /// The column of this number, if we hold it.
    fn held(&self, number: u32) -> Option<&Column<'a>> {
        self.columns[(number % COLUMNS) as usize].as_ref()
    }

    /// A block of the model by number.
    fn pick(&self, number: u32) -> Option<(NonNull<u8>, Block)> {
        let at = number as usize % self.live.len().max(1);
        let (&start, &block) = self.live.iter().nth(at)?;
        let pointer = self.arena.at(start - address(self.start())).and_then(NonNull::new).expect("an address of the arena");
        Some((pointer, block))
    }

    fn start(&self) -> NonNull<u8> {
        self.arena.at(0).and_then(NonNull::new).expect("user memory")
    }

    /// A block was given: it overlaps none, is aligned, and is as large as promised.
    fn given(&mut self, start: NonNull<u8>, size: usize, align: usize, column: u32) {
        let usable = self.arena.usable_size(start.as_ptr()).expect("a block");
        let at = address(start);
        assert!(size > 0 && column < COLUMNS && at.is_multiple_of(align.max(16)), "{size} bytes aligned to {align} at {at:#x}");
        assert!(usable >= size);
        if align <= 16 {
            assert!(usable <= most(size), "{size} bytes take {usable}");
            assert_eq!(Some(usable), self.arena.good_size(size));
        }
        let before = self.live.range(..=at).next_back();
        assert!(before.is_none_or(|(&other, block)| other + block.usable <= at), "overlaps the block before");
        let after = self.live.range(at..).next();
        assert!(after.is_none_or(|(&other, _)| at + usable <= other), "overlaps the block after");
        assert!(self.arena.contains(start.as_ptr()) && self.arena.contains(start.as_ptr().wrapping_add(usable - 1)));
        self.number = self.number.wrapping_add(1);
        // SAFETY: the block is ours and has these bytes.
        unsafe { start.write_bytes(self.number, usable) };
        self.live.insert(at, Block { size, usable, align, column, mark: self.number });
    }

    fn refused(&mut self, error: Error, size: usize, column: u32) {
        self.counts.failed += 1;
        self.is_apt(error, size, column);
    }

    fn is_apt(&self, error: Error, size: usize, column: u32) {
        let capacity = self.arena.capacity();
        match error {
            Error::ZeroSize => assert_eq!(size, 0),
            Error::SizeAboveCapacity { .. } => assert!(size > capacity),
            Error::ColumnOutOfRange { .. } => assert_eq!(column, COLUMNS),
            // What held columns keep in their cells stays with them; an arena without them has all its memory.
            Error::NoMemory { .. } => assert!(self.arena.metrics().bytes_live > 0 || self.columns.iter().any(Option::is_some)),
            Error::Quota { column: at, .. } => assert_eq!(at, column),
            _ => panic!("{error} for {size} bytes in column {column}"),
        }
    }

    fn is_whole(start: NonNull<u8>, block: Block, bytes: usize) -> bool {
        // SAFETY: the block is ours and has these bytes, all written.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), bytes) }.iter().all(|&byte| byte == block.mark)
    }

    fn alloc(&mut self, a: u32, b: u32, c: u8) {
        let (size, align, spike) = (size(a), align(c), spike(b >> 8));
        let (id, index) = self.column(b);
        match self.held(b >> 2) {
            Some(column) if c & 64 == 0 => {
                let index = column.id().index();
                match column.alloc(size, align, spike) {
                    Ok(start) => {
                        self.counts.allocs += 1;
                        self.given(start, size, align, index);
                    }
                    Err(error) => self.refused(error, size, index),
                }
            }
            _ => match self.arena.alloc(id, Layout::from_size_align(size, align).expect("a layout"), spike) {
                Ok(start) => {
                    self.counts.allocs += 1;
                    self.given(start, size, align, if id.is_none() { self.column_of(start) } else { index });
                }
                Err(error) => self.refused(error, size, index),
            },
        }
    }

    fn alloc_zeroed(&mut self, a: u32, b: u32, c: u8) {
        let (size, align) = (size(a), align(c));
        let (id, mut index) = self.column(b);
        let given = match self.held(b >> 2) {
            Some(column) if c & 64 == 0 => {
                index = column.id().index();
                column.alloc_zeroed(size, align, spike(b >> 8))
            }
            _ => {
                let given = self.arena.alloc_zeroed(id, Layout::from_size_align(size, align).expect("a layout"), spike(b >> 8));
                if let (None, Ok(start)) = (id, &given) {
                    index = self.column_of(*start);
                }
                given
            }
        };
        match given {
            Ok(start) => {
                self.counts.allocs += 1;
                let zero = Block { size, usable: size, align, column: index, mark: 0 };
                assert!(Self::is_whole(start, zero, size), "not zero");
                self.given(start, size, align, index);
            }
            Err(error) => self.refused(error, size, index),
        }
    }

    /// Forgets a block that was freed, through a held column or not.
    fn freed(&mut self, start: NonNull<u8>, through: Option<u32>) {
        let block = self.live.remove(&address(start)).expect("a block of the model");
        self.counts.frees += 1;
        self.counts.remote_frees += u64::from(through != Some(block.column));
        self.dead = Some(address(start));
    }

    fn free(&mut self, a: u32, b: u32) {
        let Some((start, block)) = self.pick(a) else { return };
        assert!(Self::is_whole(start, block, block.usable), "somebody wrote into {start:?}");
        assert_eq!(self.arena.usable_size(start.as_ptr()), Some(block.usable));
        let through = self.held(b).map(|column| column.id().index());
        // SAFETY: the block is ours, and nothing uses it afterwards.
        unsafe {
            match self.held(b) {
                Some(column) => column.free(start),
                None => self.arena.free(start),
            }
        }
        .expect("a block");
        assert_eq!(self.arena.usable_size(start.as_ptr()), None);
        self.freed(start, through);
    }

    fn realloc(&mut self, a: u32, b: u32, c: u8) {
        let Some((start, block)) = self.pick(a) else { return };
        let size = size(b);
        let held = self.held(u32::from(c));
        let through = held.map(|column| column.id().index());
        // SAFETY: the block is ours, and the old address is not used if it moved.
        let moved = unsafe {
            match held {
                Some(column) => column.realloc(start, size, spike(b)),
                None => self.arena.realloc(start, size, spike(b)),
            }
        };
        match moved {
            Ok(to) => {
                assert!(Self::is_whole(to, block, block.usable.min(size)), "content was lost");
                if to == start {
                    self.live.remove(&address(start));
                } else {
                    self.counts.allocs += 1;
                    // The new block was given while the old was there: they do not overlap.
                    let (from, old_end) = (address(start), address(start) + block.usable);
                    assert!(address(to) + size <= from || address(to) >= old_end);
                    self.freed(start, through);
                }
                let usable = self.arena.usable_size(to.as_ptr()).expect("a block");
                let is_good = Some(usable) == self.arena.good_size(size);
                if !is_good && (to, usable) == (start, block.usable) && size < usable {
                    // There was no memory for a smaller one, or an aligned cell serves it, which has none.
                    self.live.insert(address(start), Block { size, ..block });
                    return;
                }
                // A block that an aligned cell serves keeps an alignment that somebody asked for: at least the least that explains
                // where it lies and what it takes.
                let explains = |&align: &usize| usable <= most(size.next_multiple_of(align)) && address(to).is_multiple_of(align);
                let kept = || (5..=15).map(|log2| 1 << log2).find(explains).expect("an alignment of up to 32 KiB");
                let align = if block.align <= 16 && !is_good { kept() } else { block.align };
                self.given(to, size, align, block.column);
            }
            Err(error) => {
                self.refused(error, size, block.column);
                assert!(Self::is_whole(start, block, block.usable), "a refused realloc changed the block");
            }
        }
    }

    fn batch(&mut self, a: u32, b: u32, c: u8) {
        let all = [BatchFlags::empty(), BatchFlags::ATOMIC, BatchFlags::ORDERED, BatchFlags::ATOMIC | BatchFlags::ORDERED];
        let flags = all[c as usize % 4];
        let same = c & 128 != 0;
        let numbers = (0..=u32::from(c >> 2) % 24).map(|i| b.wrapping_mul(2 * i + 1).rotate_left(i));
        let requests: Vec<Request> = numbers
            .map(|number| Request {
                size: size(if same { a } else { a ^ number }),
                align: align(if same { 0 } else { (number >> 24) as u8 }),
                column: self.column(if same { b } else { number >> 8 }).0,
                spike: spike(number),
            })
            .collect();
        let mut out = vec![null_mut(); requests.len()];
        self.counts.batches += 1;
        let result = self.arena.alloc_batch(&requests, flags, &mut out);
        let served = out.iter().filter(|p| !p.is_null()).count();
        let index_of = |model: &Self, request: &Request| request.column.map_or(model.home, ColumnId::index);
        if let Err(error) = result {
            let refused: Vec<&Request> = requests.iter().zip(&out).filter(|(_, p)| p.is_null()).map(|(request, _)| request).collect();
            assert!(!refused.is_empty());
            if flags.contains(BatchFlags::ATOMIC) {
                assert_eq!(served, 0);
                self.counts.failed += 1;
                // How many were given before the refusal is the arena's business; they are all back.
                let metrics = self.arena.metrics();
                let more = metrics.allocs - self.counts.allocs;
                assert!(more < requests.len() as u64 && metrics.frees - self.counts.frees == more);
                self.counts.allocs += more;
                self.counts.frees += more;
                self.counts.remote_frees += more;
            } else {
                self.counts.failed += refused.len() as u64;
                let first = refused.iter().min_by_key(|request| request.spike).expect("one was refused");
                self.is_apt(error, first.size, index_of(self, first));
            }
        } else {
            assert_eq!((result, served), (Ok(requests.len()), requests.len()));
        }
        self.counts.allocs += served as u64;
        if flags.contains(BatchFlags::ORDERED) {
            // What names no column is served from any, and in order within each.
            let column = |request: &Request, start| request.column.map_or_else(|| self.column_of(start), ColumnId::index);
            let given = requests.iter().zip(&out).filter_map(|(request, &start)| Some((request, NonNull::new(start)?)));
            let mut sorted: Vec<_> = given.map(|(request, start)| (column(request, start), request, start)).collect();
            sorted.sort_by_key(|&(column, request, _)| (column, request.size, request.align, request.spike));
            for pair in sorted.windows(2) {
                let ((column_one, one, at_one), (column_two, two, at_two)) = (pair[0], pair[1]);
                let alike = (column_one, one.size, one.align) == (column_two, two.size, two.align);
                assert!(!alike || at_one < at_two, "the addresses of {one:?} and {two:?} are out of order");
            }
        }
        for (request, start) in requests.iter().zip(out) {
            if let Some(start) = NonNull::new(start) {
                let column = request.column.map_or_else(|| self.column_of(start), ColumnId::index);
                self.given(start, request.size, request.align, column);
            }
        }
    }

    fn column_batch(&mut self, a: u32, b: u32, c: u8) {
        let (size, align) = (size(a), align(c));
        let mut out = vec![NonNull::dangling().as_ptr(); b as usize % 70];
        let Some(column) = self.held(b) else { return };
        let index = column.id().index();
        let served = column.alloc_batch(size, align, spike(b >> 8), &mut out);
        let error = column.last_error();
        self.counts.batches += 1;
        self.counts.allocs += served as u64;
        assert!(out[served..].iter().all(|p| p.is_null()));
        if served < out.len() {
            self.refused(error, size, index);
        }
        for &start in &out[..served] {
            self.given(NonNull::new(start).expect("served"), size, align, index);
        }
    }

    /// Takes a column, or lets it go.
    fn hold(&mut self, a: u32) {
        let index = a % COLUMNS;
        let id = ColumnId::new(index);
        let arena = self.arena;
        let place = &mut self.columns[index as usize];
        if place.is_some() {
            assert_eq!(arena.column(id).err(), Some(Error::ColumnHeld(index)));
            *place = None;
        } else {
            *place = Some(arena.column(id).expect("nobody holds it"));
        }
    }

    /// Frees what is no block: refused, and nothing changes.
    fn misuse(&mut self, a: u32, b: u32) {
        let inside = self.pick(a).map(|(start, block)| address(start) + 1 + b as usize % (block.usable - 1));
        let wild = address(self.start()).wrapping_add(b as usize);
        for wrong in inside.into_iter().chain(self.dead).chain([wild, 8]) {
            if self.live.contains_key(&wrong) {
                continue;
            }
            let Some(wrong) = NonNull::new(self.start().as_ptr().with_addr(wrong)) else { continue };
            // SAFETY: no block starts there: refused.
            let result = unsafe {
                match self.held(b) {
                    Some(column) => column.free(wrong),
                    None => self.arena.free(wrong),
                }
            };
            assert!(matches!(result, Err(Error::BadPointer(_) | Error::DoubleFree(_))), "{wrong:?}: {result:?}");
            self.counts.misuse += 1;
        }
    }

    fn limit(&mut self, a: u32, b: u32) {
        let bytes = b.is_multiple_of(2).then_some(b as usize % (4 << 20));
        self.arena.limit_column(ColumnId::new(a % COLUMNS), bytes).expect("a column of the arena");
    }

    fn reset(&mut self, a: u32) {
        let Some(column) = self.held(a) else { return };
        let index = column.id().index();
        // SAFETY: the model forgets all blocks of the column.
        unsafe { column.reset() };
        let before = self.live.len();
        self.live.retain(|_, block| block.column != index);
        self.counts.frees += (before - self.live.len()) as u64;
    }

    /// A walk shows what the model has of a column, in order of address.
    fn walk(&self, a: u32) {
        let Some(column) = self.held(a) else { return };
        let index = column.id().index();
        let mut known = self.live.iter().filter(|(_, block)| block.column == index).map(|(&at, block)| (at, block.usable));
        column.walk(|block| {
            assert_eq!(Some((address(block.start), block.usable)), known.next());
            true
        });
        assert_eq!(known.next(), None, "a block was not visited");
    }

    fn check(&self) {
        self.arena.verify().expect("every invariant");
        let counts = &self.counts;
        let Metrics { bytes_live, allocs, frees, remote_frees, failed, misuse, batches, .. } = self.arena.metrics();
        assert_eq!((allocs, frees, remote_frees), (counts.allocs, counts.frees, counts.remote_frees), "allocs, frees, remote");
        assert_eq!((failed, misuse, batches), (counts.failed, counts.misuse, counts.batches), "failed, misuse, batches");
        assert_eq!(bytes_live, self.live.values().map(|block| block.usable as u64).sum::<u64>());
        assert_eq!(allocs - frees, self.live.len() as u64);
    }

    fn finish(mut self) {
        self.check();
        for index in 0..COLUMNS {
            if self.held(index).is_none() {
                self.hold(index);
            }
            self.walk(index);
        }
        while let Some((start, block)) = self.pick(0) {
            assert!(block.size <= block.usable);
            self.free(0, address(start) as u32 >> 4);
        }
        self.columns.clear();
        self.check();
        for index in 0..COLUMNS {
            self.arena.limit_column(ColumnId::new(index), None).expect("a column of the arena");
        }
        let all = Layout::from_size_align(self.arena.capacity(), 16).expect("a layout");
        let whole = self.arena.alloc(None, all, SpikeTime::NONE).expect("nothing is lost: all memory in one piece");
        // SAFETY: the block is ours, and nothing uses it afterwards.
        unsafe { self.arena.free(whole) }.expect("a block");
        self.arena.verify().expect("every invariant");
    }
}
