//! A process that dies at any instant loses nothing that it was given, and keeps nothing that it gave back.
//!
//! `kill -9` leaves in a region file all stores of the instructions before. So a child is killed after each instruction
//! of each kind of operation: stepped through, with a copy of its file judged at each instruction, and now and then
//! killed in earnest. Beyond that, children with two threads are killed at random moments.
//!
//! ```text
//! cargo test --test stepped crash -- --nocapture                what was killed, and how long it took
//! ENGRAM_CRASH_ALL=1 cargo test --test stepped crash            every instruction of recovery too
//! ENGRAM_CRASH_ROUNDS=2000 cargo test --test stepped random     more random moments
//! ```

mod churn;
mod file;
mod judge;
mod operations;
mod recovery;
mod steps;
mod table;
mod zeroed;

use super::child::ran_alone;

#[test]
fn a_kill_after_any_instruction_of_an_operation_leaves_it_done_or_not_done() {
    if ran_alone() {
        return;
    }
    steps::all();
}

#[test]
fn a_kill_at_a_random_moment_loses_nothing_and_keeps_nothing() {
    if ran_alone() {
        return;
    }
    let rounds = std::env::var("ENGRAM_CRASH_ROUNDS").map_or(20, |rounds| rounds.parse().expect("a number of rounds"));
    churn::all(rounds);
}

#[test]
fn a_kill_during_recovery_changes_nothing_of_what_is_recovered() {
    if ran_alone() {
        return;
    }
    recovery::all();
}

#[test]
fn a_kill_while_freed_memory_is_zeroed_gives_nothing_again_as_it_was() {
    if ran_alone() {
        return;
    }
    zeroed::all();
}
