//! Batches: many requests in one call, in spike order if anything is scarce, answered in request order.
//!
//! A batch takes one permit, in the order of its earliest spike. It is a window into what is to come: the hints of
//! [`batch_size`](super::AllocationServiceConfig::batch_size) requests are made known before the first of
//! them is placed, so that each is drawn to neighbours that are still to follow.
//!
//! ```text
//! as asked     related requests mostly come together: what one touches is in the caches for the next
//!    | refused: something is scarce
//! undone
//!    |
//! by spike     the earliest have the first claim
//! ```

use std::time::{Duration, Instant};

use bumpalo::Bump;
use bumpalo::collections::Vec as Scratch;

use super::allocation::{Plan, others_named};
use super::durable::{BATCHES, Batch, Durable};
use super::result::AllocationResult;
use super::service::MemoryAllocationService;
use super::slot::{MARK, Slot};
use crate::guidance::{AllocationError, AllocationRequest, Asked};
use crate::spike::SpikeTime;
use crate::sync::Ordering::Relaxed;

impl MemoryAllocationService {
    /// Allocates all of the requests, or none. (Others may see some of them before the last is refused.)
    ///
    /// # Errors
    /// As [`MemoryAllocationService::allocate_memory`], of the first request that is refused, in the order
    /// of the requests if it could never be served, and in spike order otherwise. Nothing is allocated then.
    #[expect(clippy::needless_pass_by_value, reason = "the face of the specification")]
    pub fn batch_allocate_memory(&self, requests: Vec<AllocationRequest>) -> Result<Vec<AllocationResult>, AllocationError> {
        let asked: Vec<_> = requests.iter().map(AllocationRequest::asked).collect();
        self.batch_all_asked(&asked).map_err(|(_, error)| error)
    }

    /// As [`batch_allocate_memory`](Self::batch_allocate_memory), with content of any bytes; the error says which
    /// request was refused.
    pub(crate) fn batch_all_asked(&self, requests: &[Asked]) -> Result<Vec<AllocationResult>, (usize, AllocationError)> {
        let mut served = Vec::new();
        let mut refused = None;
        let number = self.number_of_batch();
        let mut batch = None;
        let at_once = self.serve_batch(requests, number, Some(&mut batch), |index, result| match result {
            Ok(result) => served.push((index, result)),
            Err(error) => refused = refused.take().or(Some((index, error))),
        });
        if let Some(refused) = refused {
            self.undo(requests, number, &served);
            return Err(refused);
        }
        if let Some(batch) = batch {
            let mark = batch.mark;
            batch.commit();
            for request in requests {
                self.mark_committed(request.concept_id, mark);
            }
        }
        served.sort_unstable_by_key(|(index, _)| *index);
        let results = at_once.into_iter().chain(served).map(|(_, result)| result);
        Ok(results.inspect(|result| self.allocations.record(result.allocation_time)).collect())
    }

    /// A slot of a batch that is committed gets the ordinary mark. Under the node's lock: nobody copies the slot meanwhile.
    fn mark_committed(&self, concept_id: &str, mark: u64) {
        if let Some(node) = self.registry.find(concept_id)
            && let Some(_state) = node.lock()
            && let Some(slot) = node.block().map(Slot::at)
            && slot.mark() == mark
        {
            slot.set_mark(MARK);
        }
    }

    /// Allocates each of the requests on its own: one that is refused does not keep the others from being served. If any
    /// is, the earliest are served first. (Others may see some of the concepts go and come again then.)
    #[expect(clippy::needless_pass_by_value, reason = "the face of the specification")]
    pub fn batch_allocate_each(&self, requests: Vec<AllocationRequest>) -> Vec<Result<AllocationResult, AllocationError>> {
        let asked: Vec<_> = requests.iter().map(AllocationRequest::asked).collect();
        let mut results: Vec<_> = requests.iter().map(|_| None).collect();
        self.batch_each_asked(&asked, |index, result| results[index] = Some(result));
        results.into_iter().flatten().collect()
    }

    /// As [`batch_allocate_each`](Self::batch_allocate_each), with content of any bytes; tells `answer` of each:
    /// of those that could never be served first, and of the others in spike order if any is refused.
    pub(crate) fn batch_each_asked(&self, requests: &[Asked], mut answer: impl FnMut(usize, Result<AllocationResult, AllocationError>)) {
        let mut record_and_answer = |index, result: Result<AllocationResult, AllocationError>| {
            if let Ok(result) = &result {
                self.allocations.record(result.allocation_time);
            }
            answer(index, result);
        };
        let at_once = self.serve_batch(requests, self.number_of_batch(), None, &mut record_and_answer);
        for (index, result) in at_once {
            record_and_answer(index, Ok(result));
        }
    }

    /// Serves the requests. Those that could be served as asked are returned, in the order of the requests; `answer` is told of
    /// all others. With `batch` all or nothing: stops at the first that is refused. Then `batch` is what the region knows of it, if
    /// there is one; it is taken with the permit, so that whoever waits does so in spike order.
    fn serve_batch<'a>(
        &'a self,
        requests: &[Asked],
        number: u64,
        batch: Option<&mut Option<Batch<'a>>>,
        mut answer: impl FnMut(usize, Result<AllocationResult, AllocationError>),
    ) -> Vec<(usize, AllocationResult)> {
        let all = batch.is_some();
        let scratch = Bump::new();
        let planned_ns = self.since_open_ns(Instant::now());
        // Pool and plan of each request that can be served.
        let mut plans = Scratch::with_capacity_in(requests.len(), &scratch);
        let mut order = Scratch::with_capacity_in(requests.len(), &scratch);
        for (index, request) in requests.iter().enumerate() {
            plans.push(None);
            match self.checked(request).and_then(|pool| Ok((pool, self.plan(request, planned_ns)?))) {
                Ok((pool, mut plan)) => {
                    (plan.on_trial, plan.batch) = (true, number);
                    order.push((plan.encoding.first_spike, index));
                    plans[index] = Some((pool, plan));
                }
                Err(error) => {
                    answer(index, Err(error));
                    if all {
                        return Vec::new();
                    }
                }
            }
        }
        let first = order.iter().min().map_or(SpikeTime::NONE, |(spike, _)| *spike);
        let waiting = Instant::now();
        let permit = match self.admit(first) {
            Ok(permit) => permit,
            Err(error) => {
                order.sort_unstable();
                order.iter().take(if all { 1 } else { usize::MAX }).for_each(|(_, index)| answer(*index, Err(error.clone())));
                return Vec::new();
            }
        };
        if let Some(batch) = batch
            && let Some(durable) = &self.durable
        {
            let Some(begun) = self.begin_batch(durable, waiting) else {
                let busy = AllocationError::Busy { permits: BATCHES, waited: waiting.elapsed() };
                order.iter().min().into_iter().for_each(|(_, index)| answer(*index, Err(busy.clone())));
                return Vec::new();
            };
            plans.iter_mut().flatten().for_each(|(_, plan)| plan.mark = begun.mark);
            *batch = Some(begun);
        }
        let waited = waiting.elapsed();
        let mut served = Vec::with_capacity(order.len());
        let mut scarce = false;
        self.serve_in_order(requests, &mut plans, &order, waited, |index, result| {
            scarce = result.is_err();
            served.extend(result.ok().map(|result| (index, result)));
            !scarce
        });
        if scarce {
            self.undo(requests, number, &served);
            served.clear();
            for (_, plan) in plans.iter_mut().flatten() {
                // Its node may be dead by now.
                (plan.node, plan.on_trial) = (None, false);
            }
            // Of equal spikes the first comes first.
            order.sort_unstable();
            self.serve_in_order(requests, &mut plans, &order, waited, |index, result| {
                let refused = result.is_err();
                answer(index, result);
                !(refused && all)
            });
        }
        drop(permit);
        served
    }

    /// Serves planned requests in this order, and tells `answer` of each, until that is false.
    fn serve_in_order(
        &self,
        requests: &[Asked],
        plans: &mut [Option<(usize, Plan)>],
        order: &[(SpikeTime, usize)],
        waited: Duration,
        mut answer: impl FnMut(usize, Result<AllocationResult, AllocationError>) -> bool,
    ) {
        let mut as_asked = Vec::with_capacity(self.batch_size.min(order.len()));
        for window in order.chunks(self.batch_size) {
            as_asked.clear();
            as_asked.extend(window.iter().map(|(_, index)| *index));
            as_asked.sort_unstable();
            for &index in &as_asked {
                let request = &requests[index];
                if let Some((_, plan)) = &mut plans[index]
                    && others_named(request).next().is_some()
                {
                    let node = self.registry.node(request.concept_id);
                    self.learn_hints(&node, request);
                    plan.node = Some(node);
                }
            }
            for &(_, index) in window {
                let Some((pool, plan)) = &mut plans[index] else { continue };
                let mut result = self.allocate(&requests[index], *pool, plan, Instant::now());
                if let Ok(result) = &mut result {
                    result.allocation_time += waited;
                }
                if !answer(index, result) {
                    return;
                }
            }
        }
    }

    /// Begins a batch that is all or nothing in the region, which knows of so many at a time as there are records; more permits than
    /// those leave the last to come waiting here. `None` at the end of the time that callers wait for a permit.
    fn begin_batch<'a>(&self, durable: &'a Durable, since: Instant) -> Option<Batch<'a>> {
        loop {
            if let Some(batch) = durable.begin() {
                return Some(batch);
            }
            if since.elapsed() >= self.admission_timeout {
                return None;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// A number that no other batch has.
    fn number_of_batch(&self) -> u64 {
        self.batches.fetch_add(1, Relaxed) + 1
    }

    /// Undoes what a batch was served. (Unless somebody has deallocated it meanwhile: as if it had not been.)
    fn undo(&self, requests: &[Asked], number: u64, served: &[(usize, AllocationResult)]) {
        for (index, _) in served {
            if let Some(pool) = self.undo_of(number, requests[*index].concept_id) {
                self.pools[pool].forget_allocation();
            }
        }
    }
}
