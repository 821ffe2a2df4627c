//! Where the blocks of a replay are: the pointers, the turns and the baton that its threads share.
//!
//! The cost of order is the same whichever allocator is played: a pointer is a relaxed load or store, an object that is
//! handed to another thread one release store there and one acquire load here.
//!
//! - **J1** a thread touches an object's pointer only between its turn and the next: the turns of one object ascend along
//!   its chain, and [`Table::publish`] / [`Table::await_turn`] pair up, so the accesses are ordered.
//! - **J2** nobody waits for ever: of all steps not yet done, the earliest in the trace has nothing left to wait for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::thread::Thread;

/// Spins before a waiting thread offers its core to others.
const SPINS: u32 = 200;
/// Offers before it sleeps until it is woken, where somebody is sure to wake it.
const YIELDS: u32 = 50;

/// What the threads of a replay share.
pub struct Table {
    pointers: Box<[AtomicPtr<u8>]>,
    turns: Box<[AtomicU32]>,
    baton: AtomicU32,
    threads: Box<[OnceLock<Thread>]>,
}

impl Table {
    /// For so many objects and threads. Every page of it is touched, so that no later measurement pays for it.
    pub fn new(objects: u32, threads: usize) -> Self {
        let pointers = (0..objects).map(|_| AtomicPtr::new(std::ptr::dangling_mut())).collect();
        let turns = (0..objects).map(|_| AtomicU32::new(u32::MAX)).collect();
        let mut table = Self { pointers, turns, baton: AtomicU32::new(0), threads: Box::default() };
        table.reset(threads);
        table
    }

    /// As before the first operation.
    pub fn reset(&mut self, threads: usize) {
        for pointer in &mut self.pointers {
            pointer.store(std::ptr::null_mut(), Ordering::Relaxed);
        }
        for turn in &mut self.turns {
            turn.store(0, Ordering::Relaxed);
        }
        *self.baton.get_mut() = 0;
        self.threads = (0..threads).map(|_| OnceLock::new()).collect();
    }

    /// Where the object is; null if it was refused, or is gone.
    #[inline]
    pub fn pointer(&self, object: u32) -> *mut u8 {
        self.pointers[object as usize].load(Ordering::Relaxed)
    }

    /// Notes where the object is.
    #[inline]
    pub fn set_pointer(&self, object: u32, pointer: *mut u8) {
        self.pointers[object as usize].store(pointer, Ordering::Relaxed);
    }

    /// Gives the object, whose turn was `turn`, to the thread that does the next step on it.
    #[inline]
    pub fn publish(&self, object: u32, turn: u32) {
        // Release: pairs with the load in `await_turn`; the pointer and the block's content go with it.
        self.turns[object as usize].store(turn + 1, Ordering::Release);
    }

    /// Waits until the object was handed over `turn` times.
    #[inline]
    pub fn await_turn(&self, object: u32, turn: u32) {
        let mut tries = 0;
        // Acquire: pairs with the store in `publish`.
        while self.turns[object as usize].load(Ordering::Acquire) != turn {
            relax(&mut tries);
        }
    }

    /// Makes the calling thread known, so that the baton can wake it.
    pub fn enter(&self, thread: usize) {
        self.threads[thread].get_or_init(std::thread::current);
    }

    /// Waits until all runs before `run` are done.
    pub fn await_baton(&self, run: u32) {
        let mut tries = 0;
        // Acquire: pairs with the store in `pass_baton`; all that was done before this run is visible in it.
        while self.baton.load(Ordering::Acquire) != run {
            if tries < SPINS + YIELDS {
                relax(&mut tries);
            } else {
                std::thread::park();
            }
        }
    }

    /// Ends `run`; `next` has the one after it.
    pub fn pass_baton(&self, run: u32, next: u8) {
        // Release: pairs with the load in `await_baton`.
        self.baton.store(run + 1, Ordering::Release);
        if let Some(thread) = self.threads[usize::from(next)].get() {
            thread.unpark();
        }
    }
}

/// Lets a little time pass, more of it the longer it takes.
#[inline]
fn relax(tries: &mut u32) {
    *tries += 1;
    if *tries < SPINS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}
