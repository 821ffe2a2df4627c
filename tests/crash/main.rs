//! A process that dies at any instant loses nothing that it was given, and keeps nothing that it gave back.
//!
//! `kill -9` leaves in a region file all stores of the instructions before. So a child is killed after each instruction
//! of each kind of operation: stepped through, with a copy of its file judged at each instruction, and now and then
//! killed in earnest. Beyond that, children with two threads are killed at random moments.
//!
//! ```text
//! cargo test --test crash -- --nocapture                        what was killed, and how long it took
//! ENGRAM_CRASH_ALL=1 cargo test --test crash                    every instruction of recovery too
//! ENGRAM_CRASH_ROUNDS=2000 cargo test --test crash random       more random moments
//! ```
//!
//! Instructions can be stepped on Linux on x86-64; on other platforms nothing is tested here.
#![cfg(all(target_os = "linux", target_arch = "x86_64", not(loom)))]

mod child;
mod churn;
mod file;
#[path = "../common/folder.rs"]
mod folder;
mod judge;
mod operations;
mod recovery;
mod steps;
mod table;
mod zeroed;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time: children are forked.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_kill_after_any_instruction_of_an_operation_leaves_it_done_or_not_done() {
    let _alone = alone();
    steps::all();
}

#[test]
fn a_kill_at_a_random_moment_loses_nothing_and_keeps_nothing() {
    let _alone = alone();
    let rounds = std::env::var("ENGRAM_CRASH_ROUNDS").map_or(20, |rounds| rounds.parse().expect("a number of rounds"));
    churn::all(rounds);
}

#[test]
fn a_kill_during_recovery_changes_nothing_of_what_is_recovered() {
    let _alone = alone();
    recovery::all();
}

#[test]
fn a_kill_while_freed_memory_is_zeroed_gives_nothing_again_as_it_was() {
    let _alone = alone();
    zeroed::all();
}
