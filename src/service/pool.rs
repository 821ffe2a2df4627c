//! Pools: what concepts of one type hold, counted against the type's quota.
//!
//! A pool owns no memory. It is asked whether it has room before memory is looked for ([`Pool::room`]), charged once that is there
//! ([`Pool::charge`]), so that it holds what concepts have and nothing that is hoped for, and told when a concept no longer counts
//! ([`Pool::refund`]), in bytes as the caller rounded them; its memory may come back later.
//!
//! ```text
//! 0           used           quota - reserve        quota
//! |############|....................|------------------|
//!                for everybody       for early spikes
//! |=================|
//! 0             reserved: ready for use; follows `used` up by halves at once, down in maintenance
//! ```
//!
//! Any number of threads, no lock, no host allocation. What holds, whatever they do:
//!
//! - **Q1, the quota**: no charge brings `used` above the quota, not for an instant: it finds room and takes it in one
//!   step, nothing is added to be taken back. (What is found in a region is there, whatever the quota is by now.)
//! - **Q2, the reserve**: a request that spikes after `reserve_spike` is not charged if `used` would come
//!   above quota - reserve.
//! - **Q3, the peak** is the greatest that `used` has been, by all charges that have returned; it never
//!   falls, and no snapshot has a peak below its `used`.
//! - **Q4, the watermark**: `used` is at most `reserved` when nobody is inside a method.
//! - **Q5, the counts**: they begin at 0 when the service is opened; of all pools together no snapshot has more deallocations than
//!   allocations and concepts that were found. (An update may bring a concept from one pool to another: it is counted in neither,
//!   so that the new one may have more deallocations than allocations.)

use crate::guidance::{AllocationError, ConceptType};
use crate::spike::SpikeTime;
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

#[cfg(all(test, not(loom)))]
mod tests;

/// What a pool may hold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// `reserved` at first, and at least. At most the quota counts.
    pub(crate) initial_bytes: u64,
    /// The most that is charged.
    pub(crate) quota_bytes: u64,
    /// The part of it for spikes at or before `reserve_spike`. At most the quota counts.
    pub(crate) reserve_bytes: u64,
    /// The latest spike that may use the reserve; with [`SpikeTime::NONE`] everybody may.
    pub(crate) reserve_spike: SpikeTime,
}

/// There is no room for a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// Bytes that are, or would be, charged.
    pub(crate) asked: u64,
    /// Bytes that the pool held at that moment.
    pub(crate) used: u64,
    /// Bytes that it may hold.
    pub(crate) quota: u64,
    /// The part of the quota for which the request spikes too late; 0 if it may use all.
    pub(crate) kept: u64,
}

impl Full {
    /// The error for the caller, whose request was for `pool`.
    pub(crate) fn error(self, pool: ConceptType) -> AllocationError {
        AllocationError::QuotaExceeded {
            pool,
            asked_bytes: self.asked,
            used_bytes: self.used,
            quota_bytes: self.quota,
            kept_bytes: self.kept,
        }
    }
}

/// What a pool holds and has done. The counts are of this opening of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PoolStatistics {
    /// The pool's name.
    pub pool_id: String,
    /// The type whose concepts it holds.
    pub concept_type: ConceptType,
    /// Bytes that it may hold.
    pub quota_bytes: u64,
    /// Bytes that it holds.
    pub used_bytes: u64,
    /// The most bytes that it held at any time.
    pub peak_bytes: u64,
    /// The part of the quota that is kept for early spikes.
    pub reserve_bytes: u64,
    /// Concepts allocated in it since the service was opened, less those of undone batches.
    pub allocations: u64,
    /// Concepts deallocated from it since then: also those that were there before, and those that an update brought here from
    /// another pool, so that there may be more of them than of allocations.
    pub deallocations: u64,
    /// Times that it refused a request, for want of room.
    pub refusals: u64,
    /// Times that it grew beyond what was ready for use.
    pub expansions: u64,
    /// Requests of its type that another pool served because this one was full, and requests of other types that it
    /// served for theirs; those of undone batches, too.
    pub alternatives_served: u64,
}

/// The account of one concept type.
pub(crate) struct Pool {
    concept_type: ConceptType,
    limits: Limits,
    alternatives: Box<[ConceptType]>,
    counts: Counts,
    /// Concepts that were there when the service was opened.
    found: AtomicU64,
}

/// All that changes, on one line: a charge writes several of them.
#[repr(align(64))]
struct Counts {
    used: AtomicU64,
    peak: AtomicU64,
    reserved: AtomicU64,
    allocations: AtomicU64,
    deallocations: AtomicU64,
    refusals: AtomicU64,
    expansions: AtomicU64,
    alternatives_served: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Counts>() == 64);

impl Pool {
    /// An empty pool. `alternatives` are only kept for the caller, in their order.
    pub(crate) fn new(concept_type: ConceptType, limits: Limits, alternatives: &[ConceptType]) -> Self {
        let limits = Limits {
            initial_bytes: limits.initial_bytes.min(limits.quota_bytes),
            reserve_bytes: limits.reserve_bytes.min(limits.quota_bytes),
            ..limits
        };
        let zero = || AtomicU64::new(0);
        let counts = Counts {
            used: zero(),
            peak: zero(),
            reserved: AtomicU64::new(limits.initial_bytes),
            allocations: zero(),
            deallocations: zero(),
            refusals: zero(),
            expansions: zero(),
            alternatives_served: zero(),
        };
        Self { concept_type, limits, alternatives: alternatives.into(), counts, found: zero() }
    }

    /// The type whose concepts it holds.
    pub(crate) fn concept_type(&self) -> ConceptType {
        self.concept_type
    }

    /// The pools to try, in order, when this one is full.
    pub(crate) fn alternatives(&self) -> &[ConceptType] {
        &self.alternatives
    }

    /// Whether there is room for `bytes` of a request that spikes at `spike`. Nothing is charged, so that others may have it by the
    /// time that memory is there. Wait-free.
    ///
    /// # Errors
    /// [`Full`] if there is none.
    pub(crate) fn room(&self, bytes: u64, spike: SpikeTime) -> Result<(), Full> {
        self.with(self.counts.used.load(Relaxed), bytes, spike).map(|_| ())
    }

    /// Charges `bytes` for a request that spikes at `spike`, for which there is memory. Lock-free.
    ///
    /// # Errors
    /// [`Full`] if there is no room for it; nothing has changed.
    pub(crate) fn charge(&self, bytes: u64, spike: SpikeTime) -> Result<(), Full> {
        let mut used = self.counts.used.load(Relaxed);
        let now = loop {
            let now = self.with(used, bytes, spike)?;
            // Acquire, with `shrink`: see there.
            match self.counts.used.compare_exchange_weak(used, now, Acquire, Relaxed) {
                Ok(_) => break now,
                Err(other) => used = other,
            }
        };
        raise(&self.counts.peak, now);
        self.grow(now);
        Ok(())
    }

    /// Of a pool that holds `used` bytes: what it would hold with a charge, if there is room for it.
    fn with(&self, used: u64, bytes: u64, spike: SpikeTime) -> Result<u64, Full> {
        let quota = self.limits.quota_bytes;
        // Q2.
        let kept = if spike <= self.limits.reserve_spike { 0 } else { self.limits.reserve_bytes };
        if bytes > (quota - kept).saturating_sub(used) { Err(Full { asked: bytes, used, quota, kept }) } else { Ok(used + bytes) }
    }

    /// Takes in a concept that was found in a region, whatever the quota is by now.
    pub(crate) fn charge_found(&self, bytes: u64) {
        let now = self.counts.used.fetch_add(bytes, Relaxed) + bytes;
        raise(&self.counts.peak, now);
        raise(&self.counts.reserved, now);
        self.found.fetch_add(1, Relaxed);
    }

    /// Concepts that were there when the service was opened.
    pub(crate) fn found(&self) -> u64 {
        self.found.load(Relaxed)
    }

    /// Gives `bytes` back that were charged: their concept no longer counts. Their memory may come back later. Wait-free.
    pub(crate) fn refund(&self, bytes: u64) {
        // Relaxed: no memory comes with it. (What `shrink` has released goes on through it to whoever is charged next.)
        let used = self.counts.used.fetch_sub(bytes, Relaxed);
        debug_assert!(used >= bytes, "{bytes} bytes were given back to a pool that holds {used}");
    }

    /// Counts a concept that the pool took in: after its charge, and before others can deallocate it, unless it may be undone.
    pub(crate) fn count_allocation(&self) {
        self.counts.allocations.fetch_add(1, Relaxed);
    }

    /// Counts a request for which there was no room.
    pub(crate) fn count_refusal(&self) {
        self.counts.refusals.fetch_add(1, Relaxed);
    }

    /// Counts a concept that left the pool.
    pub(crate) fn count_deallocation(&self) {
        // Release, with `statistics`: who sees it sees the allocation, which came before.
        self.counts.deallocations.fetch_add(1, Release);
    }

    /// Counts a request that an alternative served: of this pool's type, or by it.
    pub(crate) fn count_alternative(&self) {
        self.counts.alternatives_served.fetch_add(1, Relaxed);
    }

    /// Bytes that the pool holds.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.counts.used.load(Relaxed)
    }

    /// Bytes that should be ready for the pool's use: `initial_bytes` at first, more as it is used. Not to be
    /// taken for the reserve, which is a part of the quota.
    #[cfg(test)]
    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.counts.reserved.load(Relaxed)
    }

    /// Lowers `reserved` if less than a quarter of it is used: by half, but not below `initial_bytes`. Then
    /// it takes twice as much to grow again, so that a pool whose use swings a little stays as it is. By how
    /// many bytes it fell. Lock-free; for maintenance.
    pub(crate) fn shrink(&self) -> u64 {
        let counts = &self.counts;
        let reserved = counts.reserved.load(Relaxed);
        let lowered = (reserved / 2).max(self.limits.initial_bytes);
        if counts.used.load(Relaxed) >= reserved / 4 || lowered >= reserved {
            return 0;
        }
        if counts.reserved.compare_exchange(reserved, lowered, Relaxed, Relaxed).is_err() {
            return 0; // it is just growing
        }
        // A charge may have come in between that found `reserved` high enough. Reading `used` by writing it:
        // either that charge is seen here, or it comes after this write, and (Release, with its Acquire)
        // sees what was lowered. Two plain loads could miss each other.
        let used = counts.used.fetch_add(0, Release);
        reserved.saturating_sub(raise(&counts.reserved, used))
    }

    /// `reserved` grows by half, but at least to what is used (Q4), and at most to the quota.
    fn grow(&self, used: u64) {
        let counts = &self.counts;
        let mut reserved = counts.reserved.load(Relaxed);
        while reserved < used {
            let grown = reserved.saturating_add(reserved / 2).min(self.limits.quota_bytes).max(used);
            match counts.reserved.compare_exchange_weak(reserved, grown, Relaxed, Relaxed) {
                Ok(_) => {
                    counts.expansions.fetch_add(1, Relaxed);
                    return;
                }
                Err(other) => reserved = other,
            }
        }
    }

    /// Deallocations so far. Acquire, with `count_deallocation`: whoever reads allocations afterwards finds those of what was freed.
    pub(crate) fn deallocations(&self) -> u64 {
        self.counts.deallocations.load(Acquire)
    }

    /// A snapshot with `deallocations`, which were read before, in which Q1, Q3 and Q5 hold whatever other threads do meanwhile;
    /// numbers that none of them names may be of slightly different moments.
    pub(crate) fn statistics(&self, deallocations: u64) -> PoolStatistics {
        let counts = &self.counts;
        let allocations = counts.allocations.load(Relaxed);
        let used_bytes = counts.used.load(Relaxed);
        // A charge may be between `used` and the peak. What is reported must not be unsaid by the next
        // snapshot, so it is written, too.
        let peak_bytes = raise(&counts.peak, used_bytes);
        PoolStatistics {
            pool_id: self.concept_type.to_string(),
            concept_type: self.concept_type,
            quota_bytes: self.limits.quota_bytes,
            used_bytes,
            peak_bytes,
            reserve_bytes: self.limits.reserve_bytes,
            allocations,
            deallocations,
            refusals: counts.refusals.load(Relaxed),
            expansions: counts.expansions.load(Relaxed),
            alternatives_served: counts.alternatives_served.load(Relaxed),
        }
    }
}

/// Raises a mark to `to`, if it is lower. Where it is then. Mostly a load.
fn raise(mark: &AtomicU64, to: u64) -> u64 {
    let mut now = mark.load(Relaxed);
    while now < to {
        match mark.compare_exchange_weak(now, to, Relaxed, Relaxed) {
            Ok(_) => return to,
            Err(other) => now = other,
        }
    }
    now
}
