//! Batches under way: who takes back what one has allocated counts that after it.

use core::ptr::NonNull;
use std::sync::Arc;

use super::fixture::check;
use crate::guidance::ConceptType;
use crate::service::batches::Batches;
use crate::service::node::Node;
use crate::service::pool::{Limits, Pool};
use crate::spike::SpikeTime;
use loom::thread;

/// A snapshot with a deallocation of what a batch allocated, but not with its allocation.
/// Seen with: the end of a batch counted relaxed; `Batches::has` reading relaxed.
#[test]
fn what_a_batch_allocated_is_counted_before_who_takes_it_back_counts() {
    check(3, || {
        let limits = Limits { initial_bytes: 0, quota_bytes: 1, reserve_bytes: 0, reserve_spike: SpikeTime::NONE };
        let shared = Arc::new((Batches::new(), Node::new("id", 0), Pool::new(ConceptType::EVENT, limits, &[])));
        let giver = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (batches, node, pool) = &*shared;
                let under_way = batches.begin();
                let mut state = node.lock().unwrap();
                state.batch = under_way.number;
                node.set_block(&state, Some(NonNull::dangling()));
                drop(state);
                pool.count_allocation();
                drop(under_way);
            })
        };
        let freer = {
            let shared = shared.clone();
            // The steps of `MemoryAllocationService::take_back`.
            thread::spawn(move || {
                let (batches, node, pool) = &*shared;
                let state = node.lock().unwrap();
                if node.block().is_none() || batches.has(state.batch) {
                    return;
                }
                node.set_block(&state, None);
                drop(state);
                pool.count_deallocation();
            })
        };
        let (_, _, pool) = &*shared;
        let freed = pool.deallocations();
        let statistics = pool.statistics(freed);
        assert!(freed <= statistics.allocations, "{freed} deallocations, {} allocations", statistics.allocations);
        giver.join().unwrap();
        freer.join().unwrap();
    });
}
