//! What is stepped through instruction by instruction: to count them (`bounded_steps`), and to be killed in between (`crash`, `killed`), or
//! overtaken (`publish_races`, `unpublish_races`).
//! That takes longer than all other tests together, so they are one program, in which one waits while others run.
//!
//! ```text
//! cargo test --test stepped                   all
//! cargo test --test stepped crash             those with that in their names
//! ```
//!
//! Instructions can be stepped on Linux on x86-64; on other platforms nothing is tested here.
#![cfg(all(target_os = "linux", target_arch = "x86_64", not(loom)))]

mod bounded_steps;
mod child;
mod crash;
#[path = "../common/folder.rs"]
mod folder;
mod killed;
#[path = "../common/promises.rs"]
mod promises;
mod publish_races;
mod unpublish_races;
