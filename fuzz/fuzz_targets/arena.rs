//! Operations decoded from bytes, against the reference allocator of the property tests.
#![no_main]

#[path = "../../tests/model/mod.rs"]
mod model;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: Vec<model::Step>| {
    model::run(&steps);
});
