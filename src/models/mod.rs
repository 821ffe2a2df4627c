//! Loom models of the lock-free parts: each asks one question of the code that ships.
//!
//! Loom runs a model once for every order in which its threads can meet, up to a number of forced
//! switches, and with every value that a relaxed load may return. Run them with
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib models`.
//!
//! Above each model stands the bug that it is for; "seen with" names what was broken on purpose in the
//! code that ships to see the model fail.

mod admission;
mod batches;
mod chunk;
mod counts;
mod decision;
mod fixture;
mod guards;
mod ids;
mod inbox;
mod index;
mod lease;
mod node;
mod passing;
mod pool;
mod published;
mod remote;
mod shared;
mod steal;
