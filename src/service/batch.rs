//! Batches: many requests in one call, in spike order if anything is scarce, answered in request order.
//!
//! A batch takes one permit, in the order of its earliest spike. It is a window into what is to come: the hints of
//! [`batch_size`](super::AllocationServiceConfig::batch_size) requests are made known before the first of
//! them is placed, so that each is drawn to neighbours that are still to follow.
//!
//! ```text
//! as asked     related requests mostly come together: what one touches is in the caches for the next
//!    | there is not room for all, or two have one id
//! undone
//!    |
//! by spike     the earliest have the first claim
//! ```

use std::alloc::{Layout, handle_alloc_error};
use std::collections::HashSet;
use std::time::{Duration, Instant};

use bumpalo::Bump;
use bumpalo::collections::Vec as Scratch;

use super::admission::Permit;
use super::allocation::{Hints, Learnt, Seen, Terms, others_named};
use super::discards::WaitBudget;
use super::durable::{BATCHES, Batch};
use super::result::{AllocationResult, Granted};
use super::service::MemoryAllocationService;
use super::slot::Slot;
use crate::guidance::{AllocationError, AllocationRequest, Asked, Features, Occupied};
use crate::spike::SpikeTime;

impl MemoryAllocationService {
    /// Allocates all of the requests, or none. (Others may read some of them before the last is refused; whoever allocates, updates or
    /// deallocates one before all are there is told that it is [`Busy`](AllocationError::Busy).) In a region file 256 such batches run at
    /// the same time at most; who comes then waits as for a permit.
    ///
    /// Any thread. Waits once at the gate, by the earliest first spike, and for memory that readers have pinned up to 20 ms in all, and as
    /// long again if there is not room for all; else as [`allocate_memory`](Self::allocate_memory), for each request.
    ///
    /// # Errors
    /// As [`MemoryAllocationService::allocate_memory`], of the first request that is refused: in spike order if that is for want of
    /// room, else in the order of the requests. Nothing is allocated then.
    pub fn batch_allocate_memory(&self, requests: Vec<AllocationRequest>) -> Result<Vec<AllocationResult>, AllocationError> {
        let asked: Vec<_> = requests.iter().map(AllocationRequest::asked).collect();
        let granted = self.batch_all_asked(&asked).map_err(|(_, error)| error)?;
        drop(asked);
        Ok(answers_to(requests, granted, |granted| self.told(&granted)))
    }

    /// As [`batch_allocate_memory`](Self::batch_allocate_memory), with content of any bytes; the error says which
    /// request was refused.
    pub(crate) fn batch_all_asked(&self, requests: &[Asked]) -> Result<Vec<Granted>, (usize, AllocationError)> {
        let mut refused = None;
        let mut batch = None;
        let under_way = self.batches.begin();
        let served = self.serve_batch(requests, under_way.number, Some(&mut batch), |place, answer| {
            refused = refused.take().or(answer.err().map(|error| (place, error)));
        });
        if let Some(refused) = refused {
            return Err(refused);
        }
        if let Some(batch) = batch {
            let mark = batch.mark;
            batch.commit();
            for request in requests {
                self.mark_committed(request.concept_id, mark);
            }
        }
        self.count(&served);
        drop(under_way);
        let granted = served.by_place();
        for granted in &granted {
            self.allocations.record(granted.allocation_time);
        }
        Ok(granted)
    }

    /// A slot of a batch that is committed gets the ordinary mark. Under the node's lock: nobody copies the slot meanwhile.
    fn mark_committed(&self, concept_id: &str, mark: u64) {
        if let Some(node) = self.registry.find(concept_id)
            && let Some(_state) = node.lock()
            && let Some(slot) = node.block().map(Slot::at)
            && slot.mark() == mark
        {
            slot.set_mark(self.mark());
        }
    }

    /// Allocates each of the requests on its own: one that is refused does not keep the others from being served. If there is not
    /// room for all, or several have one id, the earliest are served first. (Others may see some of the concepts go and come again
    /// then. As long as a concept may still go, mostly until all are answered, whoever allocates, updates or deallocates it is told that
    /// it is [`Busy`](AllocationError::Busy).)
    ///
    /// Any thread. Waits once at the gate, by the earliest first spike, and for memory that readers have pinned up to 20 ms in all, and as
    /// long again if there is not room for all; else as [`allocate_memory`](Self::allocate_memory), for each request.
    ///
    /// # Errors
    /// In each answer, as [`allocate_memory`](Self::allocate_memory). If one is [`Busy`](AllocationError::Busy) for want of a permit all
    /// are, and none was served.
    pub fn batch_allocate_each(&self, requests: Vec<AllocationRequest>) -> Vec<Result<AllocationResult, AllocationError>> {
        let asked: Vec<_> = requests.iter().map(AllocationRequest::asked).collect();
        let mut answers: Vec<_> = requests.iter().map(|_| None).collect();
        self.batch_each_asked(&asked, |index, answer| answers[index] = Some(answer));
        drop(asked);
        let answers = answers.into_iter().flatten().collect();
        answers_to(requests, answers, |answer: Answer| answer.map(|granted| self.told(&granted)))
    }

    /// As [`batch_allocate_each`](Self::batch_allocate_each), with content of any bytes; tells `answer` of each:
    /// of those that could never be served first, then of others that are refused, in spike order; of all others in
    /// spike order if there is not room for all.
    pub(crate) fn batch_each_asked(&self, requests: &[Asked], mut answer: impl FnMut(usize, Answer)) {
        let mut record_and_answer = |index, served: Answer| {
            if let Ok(granted) = &served {
                self.allocations.record(granted.allocation_time);
            }
            answer(index, served);
        };
        let under_way = self.batches.begin();
        let at_once = self.serve_batch(requests, under_way.number, None, |place, answer| {
            record_and_answer(place, answer);
        });
        self.count(&at_once);
        drop(under_way);
        for (place, granted) in at_once.places.into_iter().zip(at_once.granted) {
            record_and_answer(place, Ok(granted));
        }
    }

    /// Serves the requests. `answer` is told of those that are refused. Those that are served are returned, and are not counted yet,
    /// but for a second pass in which each is on its own: `answer` is told of these, too. With `batch` all or nothing: stops at the first
    /// that is refused, and nothing is served. Then `batch` is what the region knows of it, if there is one; it is taken with the
    /// permit, so that whoever waits does so in spike order.
    fn serve_batch<'a>(
        &'a self,
        requests: &[Asked],
        number: u64,
        batch: Option<&mut Option<Batch<'a>>>,
        mut answer: impl FnMut(usize, Answer),
    ) -> Served {
        let all = batch.is_some();
        let scratch = Bump::new();
        let Some((mut known, mut order)) = self.sift(requests, all, &scratch, &mut answer) else { return Served::default() };
        let waiting = Instant::now();
        let earliest = || order.iter().map(|&place| self.spike_of(&requests[place])).min().unwrap_or(SpikeTime::NONE);
        let (_permit, begun) = match self.enter(earliest, all, waiting) {
            Ok(entered) => entered,
            Err(error) => {
                self.sort(requests, &mut order);
                order.iter().take(if all { 1 } else { usize::MAX }).for_each(|&place| answer(place, Err(error.clone())));
                return Served::default();
            }
        };
        let mark = begun.as_ref().map_or_else(|| self.mark(), |begun| begun.mark);
        if let Some(batch) = batch {
            *batch = begun;
        }
        let run = Run { requests, all, number, mark, waited: waiting.elapsed(), patience: WaitBudget::new() };
        let mut first = self.serve_as_asked(&run, &mut known, &order);
        if first.scarce || all && !first.refused.is_empty() {
            self.undo(&run, &mut first.served, &mut known);
        }
        if first.scarce {
            self.sort(requests, &mut order);
            // What was undone comes back when readers let go of it: that is worth a wait of its own.
            let run = Run { patience: WaitBudget::new(), ..run };
            return self.serve_by_spike(&run, &mut known, &order, answer);
        }
        first.refused.sort_by_cached_key(|(place, _)| (self.spike_of(&requests[*place]), *place));
        for (place, error) in first.refused {
            answer(place, Err(error));
        }
        first.served
    }

    /// What is known of each request, and the places of those that can be served at all, as asked; `answer` is told of the others.
    /// `None` if there is such another one and it is `all` or nothing.
    fn sift<'s>(
        &self,
        requests: &[Asked],
        all: bool,
        scratch: &'s Bump,
        answer: &mut impl FnMut(usize, Answer),
    ) -> Option<(Scratch<'s, Option<Known>>, Scratch<'s, usize>)> {
        let mut known = scratch_for(requests.len(), scratch);
        let mut order = scratch_for(requests.len(), scratch);
        for (place, request) in requests.iter().enumerate() {
            let pool = self.checked(request);
            known.push(pool.as_ref().ok().map(|&pool| Known { pool, hints: Hints::default(), remembered: None }));
            match pool {
                Ok(_) => order.push(place),
                Err(error) => {
                    answer(place, Err(error));
                    if all {
                        return None;
                    }
                }
            }
        }
        Some((known, order))
    }

    /// The first pass, as asked: all of it can be undone, and a full pool is no refusal yet. Ends when there is not room for one, or
    /// one is refused and it is all or nothing.
    fn serve_as_asked(&self, run: &Run, known: &mut [Option<Known>], order: &[usize]) -> FirstPass {
        let terms = Terms { batch: run.number, mark: run.mark, on_trial: true, stands: false, patience: &run.patience };
        let mut pass = FirstPass { served: Served::with_capacity(order.len()), scarce: false, refused: Vec::new() };
        self.serve_in_order(run, known, order, terms, |place, result| {
            match result {
                Ok(answer) => pass.served.push(place, answer),
                Err(AllocationError::QuotaExceeded { .. } | AllocationError::OutOfMemory { .. }) => pass.scarce = true,
                // So is an id that several have: it is the earliest's.
                Err(AllocationError::AlreadyExists { .. }) if !run.all && self.is_of(run.number, &run.requests[place]) => {
                    pass.scarce = true;
                }
                Err(error) => pass.refused.push((place, error)),
            }
            !pass.scarce && (!run.all || pass.refused.is_empty())
        });
        pass
    }

    /// The second pass, by spike, once the first was undone. If it is all or nothing it ends with the first that is refused, and all is
    /// undone; else each is on its own: what is served is everybody's at once, and nothing is undone from here on.
    fn serve_by_spike(&self, run: &Run, known: &mut [Option<Known>], order: &[usize], mut answer: impl FnMut(usize, Answer)) -> Served {
        let batch = if run.all { run.number } else { 0 };
        let terms = Terms { batch, mark: run.mark, on_trial: false, stands: !run.all, patience: &run.patience };
        let (mut served, mut undone) = (Served::default(), false);
        self.serve_in_order(run, known, order, terms, |place, result| {
            match result {
                Ok(answer) if run.all => served.push(place, answer),
                result => {
                    undone = run.all;
                    answer(place, result);
                }
            }
            !undone
        });
        if undone {
            self.undo(run, &mut served, known);
        }
        served
    }

    /// Serves requests in this order, and tells `answer` of each, until that is false.
    fn serve_in_order(
        &self,
        run: &Run,
        known: &mut [Option<Known>],
        order: &[usize],
        terms: Terms,
        mut answer: impl FnMut(usize, Answer) -> bool,
    ) {
        let requests = run.requests;
        let planned_ns = self.since_open_ns(Instant::now());
        for window in order.chunks(self.batch_size) {
            // In the second pass only the first request with an id teaches its hints: the others are refused. Requests teach in the
            // order in which they are served, so that an edge two of them name belongs to the earlier one and stays if the later is
            // refused.
            let mut ids = HashSet::new();
            for &place in window.iter().filter(|&&place| terms.on_trial || ids.insert(requests[place].concept_id)) {
                let request = &requests[place];
                if let Some(known) = &mut known[place]
                    && others_named(request).next().is_some()
                {
                    let node = self.registry.node(request.concept_id);
                    // Of one that is there already the hints say nothing.
                    if node.block().is_none() {
                        self.learn_hints(&node, request, &mut known.hints.learnt);
                        known.hints.node = Some(node);
                    }
                }
            }
            let mut start = Instant::now();
            let mut forgotten = false;
            for &place in window {
                let (request, Some(known)) = (&requests[place], &mut known[place]) else { continue };
                let mut folded = None;
                // Only now: what is read for it is in the caches when the request is served.
                let seen = if known.remembered.is_some() { Seen::Again } else { Seen::First };
                let plan = self.plan(request, planned_ns, seen, |features| folded.insert(features));
                let plan = plan.unwrap_or_else(|error| unreachable!("a request that was checked: {error}"));
                let remembered = *known.remembered.get_or_insert(plan.is_remembered());
                // A request that was refused has forgotten the edges of its hints. If this one names one of them too, it must make it
                // known again: without a node, `allocate` learns its hints anew.
                if forgotten {
                    known.hints.node = None;
                }
                let mut result = self.allocate(request, known.pool, &plan, terms, &mut known.hints, start);
                forgotten |=
                    matches!(&result, Err(error) if !matches!(error, AllocationError::AlreadyExists { .. } | AllocationError::Busy { .. }));
                // When this one ends the next begins: a clock is read once for each.
                match &mut result {
                    Ok(granted) => {
                        start += granted.allocation_time;
                        granted.allocation_time += run.waited;
                        granted.cache_hit &= remembered;
                    }
                    Err(_) => start = Instant::now(),
                }
                if !answer(place, result) {
                    return;
                }
            }
        }
    }

    /// When a request that can be served spikes.
    fn spike_of(&self, request: &Asked) -> SpikeTime {
        let accesses = request.resource_requirements.expected_accesses_per_s;
        let encoding =
            Features::of(request.stimulus()).and_then(|features| self.ttfs.encode_features(&features, request.priority, accesses));
        encoding.map_or(SpikeTime::NONE, |encoding| encoding.first_spike)
    }

    /// Brings requests into spike order, those with equal spikes into that in which they were asked.
    fn sort(&self, requests: &[Asked], order: &mut [usize]) {
        order.sort_by_cached_key(|&place| (self.spike_of(&requests[place]), place));
    }

    /// A permit for a batch, and with `all` what the region knows of it, if there is one: waits for both from `since` on.
    fn enter(
        &self,
        earliest: impl Fn() -> SpikeTime,
        all: bool,
        since: Instant,
    ) -> Result<(Permit<'_>, Option<Batch<'_>>), AllocationError> {
        // The region knows of so many at a time as there are records. First: who waits for one keeps no permit from others.
        let durable = self.durable.as_ref().filter(|_| all);
        let begun = durable.map(|durable| durable.begin(&earliest, self.admission_timeout)).transpose();
        let begun =
            begun.map_err(|refused| AllocationError::Busy { what: Occupied::FilePermits { permits: BATCHES, waited: refused.waited } })?;
        // Who need not wait need not know which spike is the earliest.
        let left = || self.admission_timeout.saturating_sub(since.elapsed());
        let permit = self.gate.try_enter().map_or_else(|| self.admit(earliest(), left()), Ok)?;
        Ok((permit, begun))
    }

    /// Whether the concept that has a request's id was allocated by this batch.
    fn is_of(&self, number: u64, request: &Asked) -> bool {
        self.registry.find(request.concept_id).is_some_and(|node| node.lock().is_some_and(|state| state.batch == number))
    }

    /// Counts what was served, which stands by now.
    fn count(&self, served: &Served) {
        served.granted.iter().for_each(|granted| self.pools[granted.pool].count_allocation());
    }

    /// Undoes what a batch was served, before it is counted. The edges that the hints of its requests made known are forgotten, but for
    /// those of ids that are concepts by now.
    fn undo(&self, run: &Run, served: &mut Served, known: &mut [Option<Known>]) {
        let none = Learnt::default();
        for place in std::mem::take(served).places {
            let learnt = known[place].as_ref().map_or(&none, |known| &known.hints.learnt);
            self.undo_of(run.number, &run.requests[place], learnt);
        }
        for (request, known) in run.requests.iter().zip(known) {
            let Some(known) = known else { continue };
            // Its node may be dead from here on.
            let Hints { learnt, .. } = std::mem::take(&mut known.hints);
            if let Some(node) = self.registry.find(request.concept_id)
                && let Some(mut state) = node.lock()
                && node.block().is_none()
            {
                self.abandon(&node, &mut state, request, &learnt);
            }
        }
    }
}

/// A list for so many. Where there is no host memory it ends the process, as any other list does; bumpalo would unwind.
fn scratch_for<T>(many: usize, scratch: &Bump) -> Scratch<'_, T> {
    let mut list = Scratch::new_in(scratch);
    if list.try_reserve_exact(many).is_err() {
        handle_alloc_error(Layout::array::<T>(many).unwrap_or(Layout::new::<T>()));
    }
    list
}

/// The answers to requests. Each request goes before its answer comes, whose texts so come to lie where it was, in the caches.
fn answers_to<G, T>(requests: Vec<AllocationRequest>, granted: Vec<G>, told: impl Fn(G) -> T) -> Vec<T> {
    let each = requests.into_iter().zip(granted);
    each.map(|(request, granted)| {
        drop(request);
        told(granted)
    })
    .collect()
}

/// What a request is answered.
type Answer = Result<Granted, AllocationError>;

/// The requests of a batch that were served, by their places in it, and the answer to each.
#[derive(Default)]
struct Served {
    places: Vec<usize>,
    granted: Vec<Granted>,
}

impl Served {
    fn with_capacity(requests: usize) -> Self {
        Self { places: Vec::with_capacity(requests), granted: Vec::with_capacity(requests) }
    }

    fn push(&mut self, place: usize, granted: Granted) {
        self.places.push(place);
        self.granted.push(granted);
    }

    /// The answers, in the order of the requests.
    fn by_place(self) -> Vec<Granted> {
        // In which they were served, unless something was scarce.
        if self.places.is_sorted() {
            return self.granted;
        }
        let mut answers: Vec<_> = self.places.into_iter().zip(self.granted).collect();
        answers.sort_unstable_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, granted)| granted).collect()
    }
}

/// A batch that was let in.
struct Run<'r> {
    requests: &'r [Asked<'r>],
    /// Whether it is all or nothing.
    all: bool,
    /// Its number among the batches under way.
    number: u64,
    /// What its slots are marked with.
    mark: u64,
    /// How long it waited to be let in.
    waited: Duration,
    /// For memory that is on its way.
    patience: WaitBudget,
}

/// What came of serving a batch as asked.
struct FirstPass {
    served: Served,
    /// Whether there was not room for all, or several had one id.
    scarce: bool,
    /// The places of those that were refused for another reason, and why.
    refused: Vec<(usize, AllocationError)>,
}

/// What is known of a request of a batch that can be served.
struct Known {
    pool: usize,
    hints: Hints,
    /// Whether its decision was remembered when it was first served: if not, it was decided in this batch, and perhaps undone.
    remembered: Option<bool>,
}

#[cfg(all(test, not(loom)))]
mod tests;
