//! The service: opening and closing it, allocating, updating, freeing and linking concepts.

use core::ffi::{c_char, c_void};
use core::time::Duration;

use super::batch::ENGRAM_BATCH_ATOMIC;
use super::cancel::Uncancelled;
use super::concept::{ConceptRequest, array_of, content_of, engram_concept, engram_placement, id_of, required};
use super::service_config::{engram_service_config, service_config_of};
use super::status::{ENGRAM_MORE, ENGRAM_OK, ENGRAM_RECOVERED, Failure, engram_status, fail, fail_with};
use crate::error::Error;
use crate::service::{Granted, MemoryAllocationService};
use crate::spike::SpikeTime;

/// An open service.
pub struct engram_service {
    pub(crate) service: MemoryAllocationService,
}

/// The service behind a handle.
///
/// # Safety
/// `service` is null or open, for as long as the result is used.
pub(crate) unsafe fn service_of<'a>(service: *const engram_service) -> Result<&'a MemoryAllocationService, Failure> {
    // SAFETY: the caller's promise.
    unsafe { service.as_ref() }.map(|handle| &handle.service).ok_or(Failure::Argument(Error::Null("service")))
}

fn status_of(result: Result<(), Failure>) -> engram_status {
    result.map_or_else(|failure| fail_with(&failure), |()| ENGRAM_OK)
}

/// Opens a service. On failure `*out` is NULL: `ENGRAM_E_NULL` if `config`, `out`, `pools` (with a count above 0) or a pool's type is NULL;
/// `ENGRAM_E_INVALID` for a wrong `struct_size`, a field out of its range, a reserved field that is not zero, or if there is no pool for
/// concepts that the region file has; `ENGRAM_E_OS` if the system refuses; `ENGRAM_E_UNSUPPORTED` where its pages have more than 4096
/// bytes; of region files also what `engram_arena_open` gives. `ENGRAM_RECOVERED`: the file had not been closed; every concept that was
/// answered for is there. A region file that is refused is as long as it was, with all that is in it, and closed if it was: who opens it
/// next with what it needs is told `ENGRAM_RECOVERED` if its process had died. (What an opening rebuilds may have been rebuilt.) Host
/// memory that grows with the config is `ENGRAM_E_OS`, too, if the system refuses it. Where there is none for smaller things, in any call
/// that takes host memory, the process is aborted; a region file is as after a kill then. Any, blocking.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_service_open(config: *const engram_service_config, out: *mut *mut engram_service) -> engram_status {
    let _uncancelled = Uncancelled::new();
    if out.is_null() {
        return fail(Error::Null("out"));
    }
    // SAFETY: not null; the caller's promise.
    unsafe { out.write(core::ptr::null_mut()) };
    // SAFETY: the caller's promise.
    let config = unsafe { service_config_of(config) };
    match config.and_then(|config| Ok(MemoryAllocationService::open(config)?)) {
        Ok(service) => {
            let news = if service.was_recovered() { ENGRAM_RECOVERED } else { ENGRAM_OK };
            // SAFETY: as above.
            unsafe { out.write(Box::into_raw(Box::new(engram_service { service }))) };
            news
        }
        Err(failure) => fail_with(&failure),
    }
}

/// Closes a service; its concepts are gone, but for a region file's. `ENGRAM_E_BUSY` while something is pinned, and then it
/// stays open: it may be tried again while others hand their pins back. NULL: `ENGRAM_E_NULL`. A forked child has a copy of a service in
/// anonymous memory, which it may use if no other thread used it at that moment: what one had locked is locked there for good. It
/// may not use its parent's service in a file; but it may end in any way, close that service and hand back the pins that it has of it:
/// its parent's stays as it is. One thread, while no other uses the service, but for `engram_service_unpin`; blocking.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_service_close(service: *mut engram_service) -> engram_status {
    let _uncancelled = Uncancelled::new();
    // SAFETY: the caller's promise: an open service that nobody else uses.
    let pinned = unsafe { service_of(service) }.map(MemoryAllocationService::pinned);
    match pinned {
        Err(failure) => return fail_with(&failure),
        Ok(0) => {}
        Ok(pins) => return fail_with(&Failure::Pinned(pins)),
    }
    // SAFETY: made by `engram_service_open`, and closed once.
    drop(unsafe { Box::from_raw(service) });
    ENGRAM_OK
}

/// Allocates memory for a concept and stores its content. `out` may be NULL.
///
/// `ENGRAM_E_NULL`: `service`, `request` or one of its required pointers is NULL. `ENGRAM_E_INVALID`: a part of it is out
/// of its range. `ENGRAM_E_NOT_FOUND`: there is no pool for its type. `ENGRAM_E_EXISTS`: its id is allocated.
/// `ENGRAM_E_QUOTA`: its pool is full, or what is left is kept for earlier spikes. `ENGRAM_E_NO_MEMORY`: no free memory
/// would serve it. `ENGRAM_E_BUSY`: it was not its turn in time; or a batch under way has allocated its id, and may still
/// undo that, which is not waited for: try again once the batch has been answered. `ENGRAM_E_INTERNAL`: a bug. No concept was
/// allocated then, and `*out` has the status.
///
/// Any. Waits while as many others run as may, at most for the admission timeout; those who wait go in by their
/// first spike; and for who is changing the same concept. Before `ENGRAM_E_NO_MEMORY` it waits up to 20 ms for memory that readers
/// still have, and yields the processor meanwhile; so does who waits for the same concept. No system call otherwise, but for host
/// memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_service_allocate(
    service: *mut engram_service,
    request: *const engram_concept,
    out: *mut engram_placement,
) -> engram_status {
    // SAFETY: the caller's promise.
    unsafe { engram_placement::answer(out, allocate(service, request)) }
}

/// # Safety
/// `service` is null or open, `request` null or valid. (Not `concept`: C++20 has that word for itself.)
unsafe fn allocate(service: *const engram_service, request: *const engram_concept) -> Result<Granted, Failure> {
    // SAFETY: the caller's promise.
    let (service, request) = unsafe { (service_of(service)?, request.as_ref().ok_or(Error::Null("concept"))?) };
    // SAFETY: the caller's promise.
    let request = unsafe { request.request() }?;
    Ok(service.allocate_asked(&request.asked())?)
}

/// Allocates many concepts in one call, the earliest first spike first if not all can be served (then other threads may
/// see some go and come again): `out[i]` answers `concepts[i]`, and its status says what came of it; `out` may be NULL.
/// `flags` is 0 or `ENGRAM_BATCH_ATOMIC`, else `ENGRAM_E_INVALID`. `ENGRAM_E_NULL`: `service` or `concepts` is NULL.
///
/// As long as a concept may still be undone, mostly until all are answered, other threads can pin and link it, but who allocates, updates
/// or deallocates it gets `ENGRAM_E_BUSY`.
///
/// With flags 0 each is served on its own. Returns `ENGRAM_OK` if all were, else the status of the first that was not:
/// of those that could never be served (with a status of `ENGRAM_E_NULL`, `ENGRAM_E_INVALID`, or `ENGRAM_E_NOT_FOUND`) the
/// first in the order of `concepts`, and if there are none the first in the order of first spikes.
///
/// With `ENGRAM_BATCH_ATOMIC` all are served or none: if one is refused then every `out[i].status` is the status
/// returned, and nothing stays allocated (though other threads may have seen some of them before). The message of
/// the last error begins with the one that was refused: `concepts[3]: `.
///
/// Any. It waits for its turn once, as `engram_service_allocate` does, by its earliest first spike, and for memory that readers still
/// have up to 20 ms in all, and as long again if there is not room for all; else as that does, for each. With `ENGRAM_BATCH_ATOMIC` in a
/// region file 256 run at the same time at most: who comes then waits for that, too, and gets `ENGRAM_E_BUSY` if it takes too long.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_service_allocate_batch(
    service: *mut engram_service,
    concepts: *const engram_concept,
    count: usize,
    flags: u32,
    out: *mut engram_placement,
) -> engram_status {
    // SAFETY: the caller's promise.
    let batch = unsafe { batch_of(service, concepts, count, flags) };
    match batch {
        Ok((service, concepts)) => {
            // SAFETY: the caller's promise, `out` if it is not null has as many entries as `concepts`.
            let answers = unsafe { Answers::new(out, count) };
            // SAFETY: the caller's promise.
            unsafe { if flags == 0 { serve_each(service, concepts, &answers) } else { serve_all(service, concepts, &answers) } }
        }
        Err(failure) => {
            // SAFETY: as above. A count that no memory has is not written to.
            unsafe { Answers::new(out, count) }.all_refused(failure.status());
            fail_with(&failure)
        }
    }
}

/// # Safety
/// `service` is null or open, `concepts` null or has `count` entries.
unsafe fn batch_of<'a>(
    service: *const engram_service,
    concepts: *const engram_concept,
    count: usize,
    flags: u32,
) -> Result<(&'a MemoryAllocationService, &'a [engram_concept]), Failure> {
    // SAFETY: the caller's promise.
    let service = unsafe { service_of(service) }?;
    if concepts.is_null() {
        return Err(Error::Null("concepts").into());
    }
    let (known, unknown) = (ENGRAM_BATCH_ATOMIC, flags & !ENGRAM_BATCH_ATOMIC);
    if unknown != 0 {
        return Err(Error::Flags { unknown, known }.into());
    }
    // SAFETY: the caller's promise.
    Ok((service, unsafe { array_of(concepts, count, "count") }?))
}

/// Where a batch is answered.
struct Answers {
    out: *mut engram_placement,
    count: usize,
}

impl Answers {
    /// # Safety
    /// `out` is null or has `count` writable entries for as long as the value lives.
    unsafe fn new(out: *mut engram_placement, count: usize) -> Self {
        let fits = count <= isize::MAX as usize / size_of::<engram_placement>();
        Self { out, count: if out.is_null() || !fits { 0 } else { count } }
    }

    fn say(&self, index: usize, placement: engram_placement) {
        if index < self.count {
            // SAFETY: `new`'s promise: not null, and it has `count` entries.
            unsafe { self.out.add(index).write(placement) };
        }
    }

    fn all_refused(&self, status: engram_status) {
        (0..self.count).for_each(|index| self.say(index, engram_placement::refused(status)));
    }
}

/// What one concept of a batch asks for, if it could be served at all.
///
/// # Safety
/// The concept's pointers are null or valid for as long as the result is used.
unsafe fn request_of<'a>(service: &MemoryAllocationService, concept: &engram_concept) -> Result<ConceptRequest<'a>, Failure> {
    // SAFETY: the caller's promise.
    let request = unsafe { concept.request() }?;
    service.checked(&request.asked())?;
    Ok(request)
}

/// # Safety
/// The concepts' pointers are null or valid.
unsafe fn serve_each(service: &MemoryAllocationService, concepts: &[engram_concept], answers: &Answers) -> engram_status {
    let mut first = None;
    let mut refuse = |index: usize, failure: Failure| {
        answers.say(index, engram_placement::refused(failure.status()));
        first.get_or_insert(Failure::Among(index, Box::new(failure)));
    };
    let (mut places, mut requests) = (Vec::with_capacity(concepts.len()), Vec::with_capacity(concepts.len()));
    for (index, concept) in concepts.iter().enumerate() {
        // SAFETY: the caller's promise.
        match unsafe { request_of(service, concept) } {
            Ok(request) => {
                places.push(index);
                requests.push(request);
            }
            Err(failure) => refuse(index, failure),
        }
    }
    let asked: Vec<_> = requests.iter().map(ConceptRequest::asked).collect();
    if !asked.is_empty() {
        service.batch_each_asked(&asked, |at, answer| match answer {
            Ok(granted) => answers.say(places[at], engram_placement::given(&granted)),
            Err(error) => refuse(places[at], error.into()),
        });
    }
    first.map_or(ENGRAM_OK, |failure| fail_with(&failure))
}

/// # Safety
/// The concepts' pointers are null or valid.
unsafe fn serve_all(service: &MemoryAllocationService, concepts: &[engram_concept], answers: &Answers) -> engram_status {
    let among = |index, failure| Failure::Among(index, Box::new(failure));
    let served = (|| {
        let mut requests = Vec::with_capacity(concepts.len());
        for (index, concept) in concepts.iter().enumerate() {
            // SAFETY: the caller's promise.
            match unsafe { concept.request() } {
                Ok(request) => requests.push(request),
                Err(failure) => {
                    // One before it that could never be served is the first; else the batch finds it.
                    let checked = |request: &ConceptRequest| service.checked(&request.asked()).err();
                    let before = requests.iter().enumerate().find_map(|(index, request)| Some((index, checked(request)?.into())));
                    let (index, failure) = before.unwrap_or((index, failure));
                    return Err(among(index, failure));
                }
            }
        }
        let asked: Vec<_> = requests.iter().map(ConceptRequest::asked).collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        service.batch_all_asked(&asked).map_err(|(index, error)| among(index, error.into()))
    })();
    match served {
        Ok(granted) => {
            granted.iter().enumerate().for_each(|(index, granted)| answers.say(index, engram_placement::given(granted)));
            ENGRAM_OK
        }
        Err(failure) => {
            answers.all_refused(failure.status());
            fail_with(&failure)
        }
    }
}

/// A new version of a concept beside the old one, and then one swap: who has pinned the old one keeps it, and nobody
/// sees a mixture. Id, type, links and all that was asked for beside the content (`memory_size`, priority, accesses) stay, the
/// version grows by one, the first spike is that of the new content (0 to 16 MiB of any bytes; NULL if there are none). Both
/// versions count against the quota for a moment. `out` may be NULL.
///
/// `ENGRAM_E_NULL`: `service` or `id` is NULL, or `content` with a length above 0. `ENGRAM_E_INVALID`: the id is not 1 to 255
/// bytes of UTF-8, or the content is too long. `ENGRAM_E_NOT_FOUND`, `ENGRAM_E_QUOTA`, `ENGRAM_E_NO_MEMORY`, `ENGRAM_E_BUSY` as
/// for `engram_service_allocate`. The old version stays then. Any; waits as `engram_service_allocate` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_service_update(
    service: *mut engram_service,
    id: *const c_char,
    id_length: usize,
    content: *const c_void,
    content_length: usize,
    out: *mut engram_placement,
) -> engram_status {
    let updated = (|| {
        // SAFETY: the caller's promise.
        let service = unsafe { service_of(service) }?;
        required(&[("id", id.is_null()), ("content", content.is_null() && content_length > 0)])?;
        // SAFETY: the caller's promise.
        let (id, content) = unsafe { (id_of(id, id_length, "id")?, content_of(content, content_length)?) };
        Ok(service.update_bytes(id, content)?)
    })();
    // SAFETY: the caller's promise.
    unsafe { engram_placement::answer(out, updated) }
}

/// Frees a concept's memory; its links are forgotten. `*freed_bytes`, which may be NULL, is by how much the pool's used
/// bytes have fallen: they have when this returns, even if somebody still has the content pinned; 0 on failure.
///
/// `ENGRAM_E_NULL`: `service` or `id` is NULL. `ENGRAM_E_INVALID`: the id is not 1 to 255 bytes of UTF-8.
/// `ENGRAM_E_NOT_FOUND`: it is not allocated. `ENGRAM_E_BUSY`: a batch under way has allocated it, and may still undo that, which is not
/// waited for: try again once the batch has been answered. Any; waits for who is changing the same concept (mostly some microseconds,
/// but as long as memory is looked for before a refusal), and in a file for who is writing to its log of edges, which is now and then
/// compacted. Takes host memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_service_deallocate(
    service: *mut engram_service,
    id: *const c_char,
    id_length: usize,
    freed_bytes: *mut u64,
) -> engram_status {
    let freed = (|| {
        // SAFETY: the caller's promise.
        let (service, id) = unsafe { (service_of(service)?, id_of(id, id_length, "id")?) };
        Ok(service.deallocate_memory(id.into())?.freed_memory_size as u64)
    })();
    if !freed_bytes.is_null() {
        // SAFETY: not null; the caller's promise.
        unsafe { freed_bytes.write(*freed.as_ref().unwrap_or(&0)) };
    }
    status_of(freed.map(|_| ()))
}

/// Makes known that two concepts belong together: evidence for where maintenance puts them. One with itself says
/// nothing, and is `ENGRAM_OK`.
///
/// `ENGRAM_E_NULL`: `service`, `from` or `to` is NULL. `ENGRAM_E_INVALID`: an id is not 1 to 255 bytes of UTF-8.
/// `ENGRAM_E_NOT_FOUND`: one is not allocated. `ENGRAM_E_NO_MEMORY`: the service lies in a file that has no room left for the
/// edge; it is not known then, and may be tried again. Any; takes a lock for a list's length, and in a file now and then for
/// as long as its log of edges is compacted. Takes host memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_service_link(
    service: *mut engram_service,
    from: *const c_char,
    from_length: usize,
    to: *const c_char,
    to_length: usize,
) -> engram_status {
    status_of((|| {
        // SAFETY: the caller's promise.
        let service = unsafe { service_of(service) }?;
        required(&[("from", from.is_null()), ("to", to.is_null())])?;
        // SAFETY: the caller's promise.
        let (from, to) = unsafe { (id_of(from, from_length, "from")?, id_of(to, to_length, "to")?) };
        Ok(service.link(from, to)?)
    })())
}

/// Does about `budget_ns` nanoseconds of background work on the calling thread: concepts move to their neighbours,
/// into spike order and out of sparse memory, and memory that is free goes back to the system. `ENGRAM_MORE` if work
/// is left, or another thread is at it. In a file it compacts the log of edges once half of that says nothing any more, or no edge is
/// left, in one piece whatever the budget is: about 0.1 us for each of its entries. NULL: `ENGRAM_E_NULL`. Any, while others go on; calls
/// the system.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_service_maintain(service: *mut engram_service, budget_ns: u64) -> engram_status {
    let _uncancelled = Uncancelled::new();
    // SAFETY: the caller's promise.
    match unsafe { service_of(service) } {
        Ok(service) if service.maintain(Duration::from_nanos(budget_ns)).more => ENGRAM_MORE,
        Ok(_) => ENGRAM_OK,
        Err(failure) => fail_with(&failure),
    }
}

/// When a neuron that is driven by `strength` first spikes: `20 ms * ln(strength / (strength - 0.1))`, to the nearest
/// nanosecond; `ENGRAM_TTFS_NONE` at or below 0.1. `ENGRAM_E_INVALID` if it is not a number, infinite or negative,
/// `ENGRAM_E_NULL` if `ttfs_ns` is NULL; on failure `*ttfs_ns` is `ENGRAM_TTFS_NONE`. Any, RT (but for a failure, which takes
/// host memory).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_first_spike(strength: f64, ttfs_ns: *mut u32) -> engram_status {
    if ttfs_ns.is_null() {
        return fail(Error::Null("ttfs_ns"));
    }
    let spike = crate::guidance::first_spike(strength);
    // SAFETY: not null; the caller's promise.
    unsafe { ttfs_ns.write(spike.as_ref().map_or(SpikeTime::NONE, |spike| *spike).raw()) };
    status_of(spike.map(|_| ()).map_err(Failure::from))
}
