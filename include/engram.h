/* engram: a synchronous, lock-free, real-time arena allocator over memory-mapped regions.
 *
 * An arena is one region of memory, mapped at open. It is divided into columns, shards with free lists of their own.
 * Who holds a column allocates and frees in a bounded number of instructions, without locks and system calls; any thread
 * may free any block, wait-free, and allocate without holding a column, lock-free. Every allocation carries a spike time,
 * the nanoseconds until its owner fires first: it chooses where the block lies and, in batches, who is served first.
 * Misuse (double frees, foreign and interior pointers) is always caught and changes nothing, but for one race: of two threads
 * that free one block at the same instant, with nothing that orders the one before the other, both may be told that they have
 * freed it, and the block may be given twice then.
 *
 * A service (engram_service) gives memory to concepts: named content of a type, each type with a quota of its own, placed by
 * what it means, by its neighbours and by how soon it spikes. Its concepts lie in an arena of its own.
 *
 * Who may call. "Any": any number of threads at once. "Holder": whoever holds the column, one thread at a time; a column
 * may be handed to another thread like any other object. An arena is closed by one thread, while no other uses it.
 *
 * Nothing is promised for signal handlers. (What is "Any", and RT or lock-free, takes no lock, and was tried there with columns that are
 * named. A held column is not to be used by a handler that interrupts its holder.) Where the library was loaded by dlopen, a thread's
 * first call may take the thread's part of its memory from malloc: one engram_last_error() in each thread brings it beforehand.
 *
 * A thread that is to be cancelled (pthread_cancel) ends after a call, not in it: it may be cancelled, but not asynchronously.
 *
 * Host memory, that of malloc. Of an arena's functions engram_arena_open, engram_arena_snapshot and, for ENGRAM_E_OS,
 * engram_last_error_message take some, and engram_arena_close frees what opening took. The others take none: an arena may be what the
 * program's malloc is made of, if these three have their memory from elsewhere. (In a snapshot there would be, as blocks, what it had
 * from the arena itself.) The service's functions take host memory.
 *
 * Stack. In a release build 32 KiB are enough for every call on an arena, and 64 KiB for every call on a service, the thread's own part
 * (some 5 KiB with glibc) included; what a visit calls comes on top. On x86-64 a batch of 2 million requests takes 18 KiB, opening
 * 14 KiB, verify 12 KiB, and what else an arena does 7 KiB; opening a service takes 29 KiB, and what else it does up to 20 KiB.
 *
 * How long it takes. "RT": a bounded number of steps, no lock, no system call. "Wait-free": bounded whatever other threads
 * do. "Lock-free": some thread always gets on. "Blocking": may call the system.
 *
 * What comes back. Handles are opaque. A NULL handle, or any other required pointer that is NULL, is ENGRAM_E_NULL (or NULL,
 * or 0), never a crash. Functions that can fail return an engram_status; allocations return NULL. Either way the reason
 * stays with the thread: engram_last_error(), engram_last_error_message(). Nothing throws and nothing unwinds.
 *
 *     #include "engram.h"
 *
 *     int main(void) {
 *       engram_arena *arena;                                      // 64 MiB, 64 columns
 *       if (engram_arena_open(NULL, &arena) != ENGRAM_OK) return 1;
 *       engram_column *column;
 *       if (engram_column_acquire(arena, 7, &column) != ENGRAM_OK) return 1;
 *       float *weights = engram_column_alloc(column, 24 * sizeof *weights, 0, 4462871);  // fires after 4.46 ms
 *       if (weights == NULL) return 1;
 *       weights[0] = 0.5f;
 *       engram_free(arena, weights);                              // any thread may
 *       engram_column_release(column);
 *       return engram_arena_close(arena) == ENGRAM_OK ? 0 : 1;
 *     }
 *
 *     cc -std=c99 program.c -Iinclude target/release/libengram.a -lpthread -ldl -lm
 *
 * C99 and C++11. Made by cbindgen from src/ffi: change it there, then run ENGRAM_WRITE_HEADER=1 cargo test --test header.
 */

#ifndef ENGRAM_H
#define ENGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Touch every page of user memory and of the metadata at open: no page fault later. (The columns' part of the metadata, 200 KiB each,
// or less in a file, is left out if it takes more than user memory and more than 64 MiB. In a file on a disk the first store to a page
// faults once more whenever the system has written it back, `engram_arena_sync` included; in a file in memory (tmpfs) none does.)
#define ENGRAM_ARENA_PREFAULT (1u << 0)

// Keep the arena in memory (mlock). Of given memory, as much as the arena takes: it is unlocked when the arena is closed, or not opened
// (also if the program had locked it itself; not in a forked child).
#define ENGRAM_ARENA_LOCK (1u << 1)

// Ask for huge pages; falls back silently. Together with `ENGRAM_ARENA_PREFAULT`, what is touched at open is touched in huge pages, and
// none are made later: to make one makes whoever touches it meanwhile fault. Opening takes longer where the system has to make room.
#define ENGRAM_ARENA_HUGE_PAGES (1u << 2)

// Region files: the file must not exist.
#define ENGRAM_ARENA_CREATE_NEW (1u << 3)

// Misuse (bad pointer, double free) prints one line and aborts, instead of an error status.
#define ENGRAM_ARENA_ABORT (1u << 4)

// Freed memory is zeroed before it can be given again; a free then takes time that grows with the block.
#define ENGRAM_ARENA_ZERO_FREED (1u << 5)

// Single allocations ignore their spike time (batches do not).
#define ENGRAM_ARENA_NO_ZONES (1u << 6)

// Region files: do not reserve disk space at open. On a full disk the process then dies of SIGBUS.
#define ENGRAM_ARENA_SPARSE (1u << 7)

// The calling thread's home column, or any other if that has no memory: threads are numbered as they first ask for it.
#define ENGRAM_COLUMN_ANY UINT32_MAX

// No spike: the lowest priority.
#define ENGRAM_TTFS_NONE UINT32_MAX

// All or none.
#define ENGRAM_BATCH_ATOMIC (1u << 0)

// Within a column and size class, addresses ascend with spike time; from untouched memory if there is some. (Above 256 KiB: within a
// column, size in spans of 32 KiB and alignment, all up to 16 bytes being one.)
#define ENGRAM_BATCH_ORDERED (1u << 1)

// Spikes after all others.
#define ENGRAM_PRIORITY_LOW 0u

// The usual.
#define ENGRAM_PRIORITY_NORMAL 1u

// Spikes before all that are normal or low.
#define ENGRAM_PRIORITY_HIGH 2u

// Spikes before all others.
#define ENGRAM_PRIORITY_CRITICAL 3u

// Rich content: likeness counts more.
#define ENGRAM_STRATEGY_HIGH_COMPLEXITY 0u

// Read often: an earlier zone, near its neighbours.
#define ENGRAM_STRATEGY_HIGH_PERFORMANCE 1u

// A large slot: where there is room.
#define ENGRAM_STRATEGY_RESOURCE_OPTIMIZED 2u

// None of these.
#define ENGRAM_STRATEGY_BALANCED 3u

// An open arena.
typedef struct engram_arena engram_arena;

// A held column.
typedef struct engram_column engram_column;

// A concept's content as it was when it was pinned.
typedef struct engram_pin engram_pin;

// An open service.
typedef struct engram_service engram_service;

// 0 success, above 0 success with news, below 0 an error. Values never change meaning.
typedef int32_t engram_status;

// What an arena is opened with; set it up with `engram_arena_config_init`.
typedef struct engram_arena_config {
  // Set by `engram_arena_config_init`.
  uint32_t struct_size;
  // `ENGRAM_ARENA_*`; default 0.
  uint32_t flags;
  // Region file, or NULL (default): anonymous memory. It is created, or opened with everything that is in it.
  const char *path;
  // Bytes of user memory, 1 to 1 TiB; default 64 MiB; rounded up to 2 MiB.
  size_t capacity;
  // 1 to 65536; default 64.
  uint32_t columns;
  // Zero.
  uint32_t reserved0;
  // Memory to use instead of mapping some; NULL (default). It starts at a multiple of 4096, and is zeroed or holds an arena. Only the
  // columns' handles, 512 bytes each, lie elsewhere: they are mapped. User memory of an arena that is made there is aligned to
  // 32 KiB at least, to 2 MiB if there is room for that: a request with a larger alignment than that is `ENGRAM_E_INVALID`, and the
  // message says what there is. An arena that was moved to another address has the alignment that it has there; if a block with a
  // larger one was ever served in it, freed since or not, opening it is `ENGRAM_E_INVALID`.
  void *memory;
  // Its bytes: at least `engram_arena_size`, which says what it takes to grow there. Beyond the end of the address space:
  // `ENGRAM_E_INVALID`.
  size_t memory_size;
  // Zero.
  uint32_t reserved[8];
} engram_arena_config;

// One allocation of a batch.
typedef struct engram_request {
  // Bytes, 1 to the capacity.
  size_t size;
  // A power of two up to 2 MiB; 0 = 16.
  size_t align;
  // The column, or `ENGRAM_COLUMN_ANY`, as of `engram_alloc`.
  uint32_t column;
  // Nanoseconds to the first spike, or `ENGRAM_TTFS_NONE`.
  uint32_t ttfs_ns;
} engram_request;

// An arena's counters. It grows at the end only; exact while nothing runs. They begin when the arena is opened, in a region file too:
// the blocks found there count as given then, and all that is told of the time before is 0.
typedef struct engram_metrics {
  // Bytes of this struct that were filled.
  uint32_t struct_size;
  // Columns.
  uint32_t columns;
  // Bytes of user memory.
  uint64_t bytes_capacity;
  // Bytes in spans handed to columns.
  uint64_t bytes_committed;
  // Bytes in blocks, rounded to their classes.
  uint64_t bytes_live;
  // The highest of them, and what the stacks of cells kept then; never falls while the arena is open. What is allocated or moved in
  // a column while it is held, but not through its handle, counts when metrics are taken, and is left out in between. What others
  // freed of a held column counts until the column takes it back, so that for one column it is at most the highest
  // `bytes_committed`. What several columns had at one moment is known when metrics are taken: in between it may be too
  // low, or too high by what one column had after another.
  uint64_t bytes_peak;
  // Blocks given, or found at the opening; moved reallocations included. `allocs - frees` blocks are live.
  uint64_t allocs;
  // Blocks taken back; moved reallocations and resets included.
  uint64_t frees;
  // Of them, not through the handle of the block's column.
  uint64_t remote_frees;
  // Allocations refused; those of a batch that is undone, or of a held column, count as one. Calls of which nothing is tried (a
  // handle or array that is NULL, unknown flags, a batch that is too long) are not counted.
  uint64_t failed;
  // Frees refused.
  uint64_t misuse;
  // Compare-and-swaps that had to be tried again.
  uint64_t retries;
  // Batch calls.
  uint64_t batches;
} engram_metrics;

// A pool: what the concepts of one type may take. Zeroed, but for type and quota, it has nothing ready and
// keeps nothing back.
typedef struct engram_pool_config {
  // The type, which names the pool: 1 to 32 bytes of `a-z`, `0-9`, `_` and `-`; not NULL. Copied.
  const char *type;
  // Its bytes.
  size_t type_length;
  // Bytes at the start of the memory whose pages are touched at open; at most the quota, and in all pools at most the capacity.
  // Each column begins in a chunk of 2 MiB of its own; pages behind these bytes, and metadata, are touched when first used.
  uint64_t initial_bytes;
  // Bytes that the pool's concepts may take, each rounded to its size class; never exceeded. Any number. (What the pool
  // has in a region file that is opened stays, and counts, even if it is more.)
  uint64_t quota_bytes;
  // Bytes of the quota that only requests with a first spike at or before `reserve_ttfs_ns` may use; at most
  // the quota.
  uint64_t reserve_bytes;
  // Nanoseconds to the latest first spike that may use the reserve; `ENGRAM_TTFS_NONE`: every request may.
  uint32_t reserve_ttfs_ns;
  // Zero.
  uint32_t reserved;
} engram_pool_config;

// What a service is opened with; set it up with `engram_service_config_init`.
typedef struct engram_service_config {
  // Set by `engram_service_config_init`.
  uint32_t struct_size;
  // 1 to 65536; default 64.
  uint32_t columns;
  // Region file, or NULL (default): anonymous memory. It is created, or opened with every concept that is in it. It is the service's
  // own: its roots 14 and 15, and every block. With a block in it that is not the service's, or without a concept that it had when it was
  // closed, it is refused (`ENGRAM_E_FORMAT`); but where a process died, what no root names and was not published is freed.
  const char *path;
  // Bytes of memory for concepts, 1 to 1 TiB; default 256 MiB; rounded up to 2 MiB.
  uint64_t capacity;
  // The pools, one for a type at most; not NULL if `pool_count` is above 0.
  const struct engram_pool_config *pools;
  // Their number, at most 64. 0 (default): a pool for each of entity, abstract, event, category, relationship,
  // property, temporal and spatial, each with a quota of the capacity.
  size_t pool_count;
  // Decisions that are remembered, 128 bytes each; 0: none; default 65,536; above 16,777,216 counts as that.
  uint32_t cache_entries;
  // Milliseconds for which they are remembered; 0: not at all; default 3,600,000.
  uint32_t cache_ttl_ms;
  // Allocations, batches and updates that may run at the same time, at least 1; default 1,024.
  uint32_t max_concurrent;
  // Milliseconds that a call waits for its turn, then `ENGRAM_E_BUSY`; 0: it does not wait; default 1,000.
  uint32_t admission_timeout_ms;
  // 1 (default): meaning and neighbours decide the column; 0: a hash of the id does.
  uint32_t guidance;
  // Zero.
  uint32_t reserved[7];
  // Enters that hash, and those by which ids are found; default 0.
  uint64_t seed;
} engram_service_config;

// What is asked for. Set it to zeros first: what is not named then is at its default, but for the priority, which
// is low. Everything that it points to is copied.
typedef struct engram_concept {
  // The concept's name: UTF-8, not NUL-ended; not NULL.
  const char *id;
  // Its bytes, 1 to 255.
  size_t id_length;
  // Its type, which names the pool: bytes of `a-z`, `0-9`, `_` and `-`, not NUL-ended; not NULL.
  const char *type;
  // Their number, 1 to 32.
  size_t type_length;
  // What is stored, any bytes; may be NULL if there are none.
  const void *content;
  // Their number, 0 to 16 MiB.
  size_t content_length;
  // What the content means, as finite numbers; NULL with length 0: a hash of the content is used.
  const float *embedding;
  // Their number, at least 1 if `embedding` is not NULL.
  size_t embedding_length;
  // Ids of concepts to lie near, allocated already or not: UTF-8, not NUL-ended. Each is a known edge. One that is
  // empty or longer than 255 bytes names nobody. May be NULL if there are none, and so may the lengths.
  const char *const *hints;
  // The bytes of each.
  const size_t *hint_lengths;
  // Their number.
  size_t hint_count;
  // Bytes wanted; the slot holds at least this and the content. 0: the content's length.
  size_t memory_size;
  // How often a second it will be read, finite and at least 0; 0: unknown.
  float expected_accesses_per_s;
  // `ENGRAM_PRIORITY_*`.
  uint32_t priority;
} engram_concept;

// What was given. After a failure all is zero but the status.
typedef struct engram_placement {
  // Bytes from the start of the service's memory to the content's first byte; no two concepts have the same.
  // Maintenance may move it.
  uint64_t offset;
  // Bytes that the content may take there.
  uint64_t size;
  // 1 when it is allocated, one more with each update.
  uint64_t version;
  // The column.
  uint32_t column;
  // Nanoseconds to the first spike, or `ENGRAM_TTFS_NONE`.
  uint32_t ttfs_ns;
  // `ENGRAM_STRATEGY_*`.
  uint32_t strategy;
  // How clear the column's victory was, 0 to 1; 0 if no guidance decided.
  float confidence;
  // 1 if the decision was remembered, else 0.
  uint32_t cache_hit;
  // 1 if guidance chose the column, 0 if a hash of the id did.
  uint32_t guided;
  // Nanoseconds that it took, waiting included.
  uint64_t time_ns;
  // `ENGRAM_OK`, or why it was refused.
  engram_status status;
} engram_placement;

// Success.
#define ENGRAM_OK 0

// Success, and more is to be done.
#define ENGRAM_MORE 1

// Success, and the region file had not been closed.
#define ENGRAM_RECOVERED 2

// A required pointer is NULL.
#define ENGRAM_E_NULL (-1)

// An argument is out of its range.
#define ENGRAM_E_INVALID (-2)

// No free memory would serve the request.
#define ENGRAM_E_NO_MEMORY (-3)

// A limit would be exceeded.
#define ENGRAM_E_QUOTA (-4)

// Somebody holds it at the moment.
#define ENGRAM_E_BUSY (-5)

// There is no such thing.
#define ENGRAM_E_NOT_FOUND (-6)

// The system refused.
#define ENGRAM_E_OS (-7)

// The region file is foreign, truncated, of another version or damaged.
#define ENGRAM_E_FORMAT (-8)

// The pointer is not the start of a slot of this arena.
#define ENGRAM_E_BAD_POINTER (-9)

// The slot is not handed out.
#define ENGRAM_E_DOUBLE_FREE (-10)

// Not offered by this version or platform.
#define ENGRAM_E_UNSUPPORTED (-11)

// It exists already.
#define ENGRAM_E_EXISTS (-12)

// An invariant is broken: a bug, or a stray write.
#define ENGRAM_E_INTERNAL (-13)

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Major * 1000000 + minor * 1000 + patch. Any, RT.
uint32_t engram_version(void);

// The version as text, static. Any, RT.
const char *engram_version_string(void);

// The name of a status, static: `"ENGRAM_E_QUOTA"`; `"ENGRAM_E_?"` if unknown. Any, RT.
const char *engram_status_name(engram_status status);

// The calling thread's last failure; a success does not clear it. Any, RT.
engram_status engram_last_error(void);

// Writes what the calling thread's last failure was about, as `snprintf` would: at most `capacity`
// bytes with the NUL; returns the full length without it. Empty if nothing failed yet. Any, RT, but for
// `ENGRAM_E_OS`, whose text the system gives; takes host memory then.
size_t engram_last_error_message(char *buffer, size_t capacity);

// Sets a config to its defaults. `struct_size` is `sizeof(engram_arena_config)`; another size is
// `ENGRAM_E_INVALID`, and then nothing is written. Any, RT.
engram_status engram_arena_config_init(struct engram_arena_config *config, size_t struct_size);

// Opens an arena; `config` may be NULL for the defaults. On failure `*out` is NULL. `ENGRAM_E_UNSUPPORTED` where the system's pages have
// more than 4096 bytes. `ENGRAM_RECOVERED`: the region file, or the given memory, had not been closed; everything that was not passed to a
// free is there. Of region files: `ENGRAM_E_BUSY` if it is open already, `ENGRAM_E_EXISTS` if it was to be new, `ENGRAM_E_FORMAT` if it is
// no region file or a damaged one, `ENGRAM_E_OS` if the system refuses, `ENGRAM_E_INVALID` if it has other columns or a larger capacity
// than asked for; the file is as it was then. `ENGRAM_E_BUSY` also if the file is replaced again and again while it is being opened. A
// link that leads to nothing is followed: the file is made there (with `ENGRAM_ARENA_CREATE_NEW`, `ENGRAM_E_EXISTS`). Any, blocking. Takes
// host memory.
engram_status engram_arena_open(const struct engram_arena_config *config,
                                struct engram_arena **out);

// Bytes that such an arena takes in a file or in given memory, metadata included: what `memory_size` must be at least; 0
// if the config is wrong. `config` may be NULL for the defaults. Memory in which an arena is to grow takes more: this size for
// the largest capacity, once more what it has above that capacity, and 2 MiB. Any, RT.
size_t engram_arena_size(const struct engram_arena_config *config);

// Closes an arena; its blocks must not be used afterwards. NULL is fine. `ENGRAM_E_BUSY` while a column is held, and then it
// stays open. A forked child has a copy of an anonymous arena: columns that other threads held, and maintenance that one was
// at, are `ENGRAM_E_BUSY` in it for good, and `engram_arena_verify` may name an invariant that one was about to restore; it
// may allocate and free. It may not use its parent's arena in a file, or in memory that they share; if it closes it, as the
// end of a program may, its parent's stays open. A column of a file that it releases stays held, so that it cannot close
// the arena: `ENGRAM_E_BUSY`. It does not keep the file locked once its parent has closed it, but if its
// parent dies first it does, until it ends or executes another program. One thread, while no other uses the arena; blocking. Frees
// host memory.
engram_status engram_arena_close(struct engram_arena *arena);

// Checks the invariants that ARCHITECTURE.md lists as checked: `ENGRAM_E_INTERNAL`, and a message that names it, if one is
// broken. `ENGRAM_E_OS` if the system gives no memory to work in, which is mapped meanwhile: none is the host's. One thread, while
// nothing else runs; blocking.
engram_status engram_arena_verify(const struct engram_arena *arena);

// Whether `p` points into the arena's user memory. Any, RT.
bool engram_arena_contains(const struct engram_arena *arena, const void *p);

// Bytes from the start of user memory to `p`; `SIZE_MAX` if it is foreign, or `arena` NULL. Any, RT.
size_t engram_arena_offset(const struct engram_arena *arena, const void *p);

// The address at an offset; NULL if it is out of range. Any, RT.
void *engram_arena_at(const struct engram_arena *arena, size_t offset);

// Limits the spans that a column may have to `bytes` (rounded down to 32 KiB); `SIZE_MAX` = no
// limit (default). Past it allocations are `ENGRAM_E_QUOTA`; while one is being refused, so may be another thread's that would fit.
// What the column has above it stays. A region file keeps it. Any, RT.
engram_status engram_column_limit(struct engram_arena *arena,
                                  uint32_t index,
                                  size_t bytes);

// Background work for about `budget_ns` nanoseconds: takes back what others freed, gives empty spans
// to their chunks, chunks to the arena, and their memory to the system. Held columns are left to their holders: what they keep, what
// others freed of them, too, goes back once they are released. `ENGRAM_MORE` if work is
// left of this round, with which the next call goes on. `ENGRAM_OK` ends a round, also one that earlier calls began: what
// they had passed is looked at again as far as the budget lasts, and else by the next round. One thread at a time, others get
// `ENGRAM_E_BUSY`; calls the system.
engram_status engram_maintain(struct engram_arena *arena,
                              uint64_t budget_ns);

// Allocates `size` bytes (1 to the capacity; 0 is `ENGRAM_E_INVALID`) in `column`
// (`ENGRAM_COLUMN_ANY`: the thread's own, or any other if that has no memory for it), aligned to `align` (a power
// of two up to 2 MiB; 0 = 16), in the zone of `ttfs_ns`. The content is undefined. NULL if refused:
// `ENGRAM_E_NO_MEMORY` only if no empty span of any column, and no free slot of this one, would serve it (of any one, with
// `ENGRAM_COLUMN_ANY`). Of a column that another thread holds only its shared spans can, and those of which others freed every
// block. Any, lock-free.
void *engram_alloc(struct engram_arena *arena,
                   uint32_t column,
                   size_t size,
                   size_t align,
                   uint32_t ttfs_ns);

// As `engram_alloc`, and the first `size` bytes are zero. Any, lock-free; time grows with `size`.
void *engram_alloc_zeroed(struct engram_arena *arena, uint32_t column, size_t size, size_t align, uint32_t ttfs_ns);

// Resizes a block: in place if its size class stays, or if it is above 256 KiB and what follows it is free or becomes so,
// else moved within its column; alignment and content are kept. A smaller block that there is no memory for stays as
// large as it is. NULL `p` is `engram_alloc` with `ENGRAM_COLUMN_ANY`. If refused (size 0 too) NULL,
// and the block stays as it is. In a region file a block that moves is two until this returns: if the process is killed in the
// middle, the one to come may be there as well. Any, lock-free; time grows with the bytes moved.
void *engram_realloc(struct engram_arena *arena,
                     void *p,
                     size_t size,
                     uint32_t ttfs_ns);

// Frees a block; NULL is fine. `ENGRAM_E_DOUBLE_FREE` for the start of a slot that is not handed out,
// in a span that still serves its class, `ENGRAM_E_BAD_POINTER` for any other pointer; nothing has
// changed then. Any, RT, wait-free.
engram_status engram_free(struct engram_arena *arena, void *p);

// Bytes that a block may use; 0 if `p` is NULL, foreign, or not handed out. Any, RT.
size_t engram_usable_size(const struct engram_arena *arena, const void *p);

// What a request of `size` bytes really takes, aligned to at most 16; 0 if it is never served. With a larger
// alignment ask for `size` rounded up to a multiple of it. Any, RT.
size_t engram_good_size(const struct engram_arena *arena, size_t size);

// Frees many blocks: all that it can, NULL entries are fine, and so is NULL for an array of none. Returns the first
// error. Any, RT for each block.
engram_status engram_free_batch(struct engram_arena *arena, void *const *pointers, size_t count);

// Allocates many blocks, the earliest spike first: `out[i]` answers `requests[i]`, NULL where refused;
// `served` may be NULL, and both arrays if there are no requests. Returns `ENGRAM_OK`, or the status of the first request
// refused in the order of serving; with `ENGRAM_BATCH_ATOMIC` every `out[i]` is NULL then, and `*served` 0.
// `ENGRAM_E_INVALID`: a flag that is not known, or more than 2^31 requests, and then `out` stays as it is. In a region file each
// block counts by itself: if the process is killed in the middle, those served so far are there. Any, lock-free; time grows with n log
// n.
engram_status engram_alloc_batch(struct engram_arena *arena,
                                 const struct engram_request *requests,
                                 size_t count,
                                 uint32_t flags,
                                 void **out,
                                 size_t *served);

// Holds a column; NULL in `*out` on failure. `ENGRAM_E_BUSY` if somebody holds it, or if another thread that allocates, searches for
// memory or maintains has it for longer than some microseconds: try again. Any, RT, bounded.
engram_status engram_column_acquire(struct engram_arena *arena,
                                    uint32_t index,
                                    struct engram_column **out);

// Lets others hold the column; its blocks stay valid. NULL is fine; `ENGRAM_E_INVALID` if it is not
// held. Holder, RT.
engram_status engram_column_release(struct engram_column *column);

// The column's number; 0 for NULL. Any, RT.
uint32_t engram_column_index(const struct engram_column *column);

// As `engram_alloc`, from the held column: a bounded number of machine instructions, which README tells,
// unless memory is scarce. Holder, RT; wait-free up to 4 KiB but for the last resort before a refusal, which is lock-free. Above, a
// claim of fresh spans is tried at most eight times while others claim in the same chunk; above 256 KiB lock-free.
void *engram_column_alloc(struct engram_column *column,
                          size_t size,
                          size_t align,
                          uint32_t ttfs_ns);

// As `engram_free`, a bounded number of machine instructions, which README tells; a block of another
// column is freed too. Holder, RT, wait-free.
engram_status engram_column_free(struct engram_column *column, void *p);

// `engram_realloc` for the column's holder: a block of this column moves as `engram_column_alloc` and `engram_column_free` would
// move it; one of another column stays in that. NULL `p` is `engram_column_alloc` aligned to 16. (`engram_realloc` does not know
// who holds the column: it moves the holder's blocks, too, to spans that the holder does not allocate from.) Holder, lock-free;
// time grows with the bytes moved.
void *engram_column_realloc(struct engram_column *column,
                            void *p,
                            size_t size,
                            uint32_t ttfs_ns);

// Fills `out` with `count` blocks of one size; returns how many were served, from the front; the
// others are NULL. `out` may be NULL if `count` is 0. More entries than memory can hold are `ENGRAM_E_INVALID`, and `out` stays as it
// is. Holder, RT for each block; wait-free or lock-free as `engram_column_alloc`.
size_t engram_column_alloc_batch(struct engram_column *column,
                                 size_t size,
                                 size_t align,
                                 uint32_t ttfs_ns,
                                 size_t count,
                                 void **out);

// Frees every block of the column at once. Meanwhile no other thread may free one of them, as of two frees of one block, or allocate
// or publish in the column: its block might be given twice. `ENGRAM_E_INVALID` if it is not held. Holder; takes a step for
// each chunk of the arena and each word of the column's spans.
engram_status engram_column_reset(struct engram_column *column);

// Calls `visit(user, block, usable)` for each block of the column in address order, until it returns
// nonzero (`ENGRAM_OK` then too). It may free blocks, and those are not visited; blocks allocated meanwhile may be visited or not.
// `ENGRAM_E_INVALID` if the column is not held. Holder; takes a step for each chunk of the arena and each word of the column's spans.
engram_status engram_column_walk(struct engram_column *column,
                                 int (*visit)(void *user, void *block, size_t usable),
                                 void *user);

// Brings all that was written to the disk of the region file; for other memory there is nothing to do. After it has
// returned, and as long as nothing is written, the file outlives a loss of power. Any, blocking.
engram_status engram_arena_sync(struct engram_arena *arena);

// Copies the arena, whatever it lies in, into a region file at `path`, a closed one: opening it is going back to this
// moment. It is written under a name of its own in the same folder (`.engram.*.unfinished`), brought to disk, and then takes
// the place of what is there; what killed processes left of such copies in the folder is removed first. A link at `path` to
// a file, or to nothing, is replaced, not followed; a folder, a pipe or a device, and what leads to one, stays:
// `ENGRAM_E_FORMAT`. `ENGRAM_E_BUSY` while a column is held, or if the file is an open region, also one that was opened
// meanwhile: it is not replaced; nor is what cannot be opened to see that, or whose folder cannot be opened to
// bring the name to disk: `ENGRAM_E_OS`. (If that is refused at last, the copy has its name, and the message says so.) Its mode is that
// of what it replaces, or else of the arena's own file, or else of any new file. While nothing else uses the arena; blocking. Takes
// host memory: if that comes from the arena itself, it is in the copy, too, as blocks that nobody frees.
engram_status engram_arena_snapshot(struct engram_arena *arena,
                                    const char *path);

// Allocates a block and stores its offset at `where`, a word of a block of the arena (a multiple of 8), in one step as far
// as a crash can tell: afterwards the block is live if and only if `*where` names it. Its offset is never 0. `where` is not
// used in other ways meanwhile. NULL if refused, and then `*where` is as it was: as `engram_alloc`, but that published
// blocks have spans of their own, so that free slots of other blocks do not serve; `ENGRAM_E_INVALID` for a `where` that is
// no multiple of 8 or lies outside user memory; `ENGRAM_E_BUSY` while 256 others publish. (Whether a block is there is not
// checked: in one that was freed, or behind a block, the name is lost, or found by whoever is given that memory next.)
// `engram_free`, and `engram_realloc` if the block moves, leave `*where` as it is: it is to be changed then. (A block that has
// moved is an ordinary one, not a published one.) Any, lock-free.
void *engram_alloc_publish(struct engram_arena *arena,
                           uint32_t column,
                           size_t size,
                           size_t align,
                           uint32_t ttfs_ns,
                           uint64_t *where);

// Frees the published block that `*where` names and stores 0 there, in one step as far as a crash can tell.
// `ENGRAM_E_BAD_POINTER` if it is 0 or names no block that was published, `ENGRAM_E_DOUBLE_FREE` if that block is free already, in
// a span that still serves its class, or another thread takes it back at this moment, `ENGRAM_E_INVALID` for a `where` that cannot be
// one, `ENGRAM_E_BUSY` while 256 others publish or unpublish; nothing has changed then. (Where memory is scarce a slot among published
// blocks may serve `engram_alloc`, and what has it counts as published.) Any, RT, wait-free.
engram_status engram_free_unpublish(struct engram_arena *arena,
                                    uint64_t *where);

// One of 16 words (`slot` 0 to 15) that the arena keeps for its program, 0 at first: an offset, so that the program finds its
// data again. 0 also if `slot` is out of range or `arena` NULL (see `engram_last_error`). Any, RT.
uint64_t engram_root(const struct engram_arena *arena,
                     uint32_t slot);

// Sets such a word. `ENGRAM_E_INVALID` if `slot` is out of range. The first block of an arena has offset 0, too: a published
// block never has (`engram_alloc_publish`). Any, RT.
engram_status engram_set_root(struct engram_arena *arena,
                              uint32_t slot,
                              uint64_t offset);

// Takes a snapshot. `struct_size` is `sizeof(engram_metrics)`; another size is `ENGRAM_E_INVALID`. Any,
// no lock.
engram_status engram_metrics_get(const struct engram_arena *arena, struct engram_metrics *out, size_t struct_size);

// Writes a snapshot as one JSON object, as `snprintf` would; no newline at the end. Any, no lock.
size_t engram_metrics_json(const struct engram_arena *arena, char *buffer, size_t capacity);

// Writes a snapshot as `OpenMetrics` text, as `snprintf` would. Any, no lock.
size_t engram_metrics_openmetrics(const struct engram_arena *arena, char *buffer, size_t capacity);

// Sets a config to its defaults. `struct_size` is `sizeof(engram_service_config)`; another size is
// `ENGRAM_E_INVALID`, and then nothing is written. NULL: `ENGRAM_E_NULL`. Any, RT.
engram_status engram_service_config_init(struct engram_service_config *config, size_t struct_size);

// Opens a service. On failure `*out` is NULL: `ENGRAM_E_NULL` if `config`, `out`, `pools` (with a count above 0) or a pool's type is NULL;
// `ENGRAM_E_INVALID` for a wrong `struct_size`, a field out of its range, a reserved field that is not zero, or if there is no pool for
// concepts that the region file has; `ENGRAM_E_OS` if the system refuses; `ENGRAM_E_UNSUPPORTED` where its pages have more than 4096
// bytes; of region files also what `engram_arena_open` gives. `ENGRAM_RECOVERED`: the file had not been closed; every concept that was
// answered for is there. A region file that is refused is as long as it was, with all that is in it, and closed if it was: who opens it
// next with what it needs is told `ENGRAM_RECOVERED` if its process had died. (What an opening rebuilds may have been rebuilt.) Host
// memory that grows with the config is `ENGRAM_E_OS`, too, if the system refuses it. Where there is none for smaller things, in any call
// that takes host memory, the process is aborted; a region file is as after a kill then. Any, blocking.
engram_status engram_service_open(const struct engram_service_config *config,
                                  struct engram_service **out);

// Closes a service; its concepts are gone, but for a region file's. `ENGRAM_E_BUSY` while something is pinned, and then it
// stays open: it may be tried again while others hand their pins back. NULL: `ENGRAM_E_NULL`. A forked child has a copy of a service in
// anonymous memory, which it may use if no other thread used it at that moment: what one had locked is locked there for good. It
// may not use its parent's service in a file; but it may end in any way, close that service and hand back the pins that it has of it:
// its parent's stays as it is. One thread, while no other uses the service, but for `engram_service_unpin`; blocking.
engram_status engram_service_close(struct engram_service *service);

// Allocates memory for a concept and stores its content. `out` may be NULL.
//
// `ENGRAM_E_NULL`: `service`, `request` or one of its required pointers is NULL. `ENGRAM_E_INVALID`: a part of it is out
// of its range. `ENGRAM_E_NOT_FOUND`: there is no pool for its type. `ENGRAM_E_EXISTS`: its id is allocated.
// `ENGRAM_E_QUOTA`: its pool is full, or what is left is kept for earlier spikes. `ENGRAM_E_NO_MEMORY`: no free memory
// would serve it. `ENGRAM_E_BUSY`: it was not its turn in time; or a batch under way has allocated its id, and may still
// undo that, which is not waited for: try again once the batch has been answered. `ENGRAM_E_INTERNAL`: a bug. No concept was
// allocated then, and `*out` has the status.
//
// Any. Waits while as many others run as may, at most for the admission timeout; those who wait go in by their
// first spike; and for who is changing the same concept. Before `ENGRAM_E_NO_MEMORY` it waits up to 20 ms for memory that readers
// still have, and yields the processor meanwhile; so does who waits for the same concept. No system call otherwise, but for host
// memory.
engram_status engram_service_allocate(struct engram_service *service,
                                      const struct engram_concept *request,
                                      struct engram_placement *out);

// Allocates many concepts in one call, the earliest first spike first if not all can be served (then other threads may
// see some go and come again): `out[i]` answers `concepts[i]`, and its status says what came of it; `out` may be NULL.
// `flags` is 0 or `ENGRAM_BATCH_ATOMIC`, else `ENGRAM_E_INVALID`. `ENGRAM_E_NULL`: `service` or `concepts` is NULL.
//
// As long as a concept may still be undone, mostly until all are answered, other threads can pin and link it, but who allocates, updates
// or deallocates it gets `ENGRAM_E_BUSY`.
//
// With flags 0 each is served on its own. Returns `ENGRAM_OK` if all were, else the status of the first that was not:
// of those that could never be served (with a status of `ENGRAM_E_NULL`, `ENGRAM_E_INVALID`, or `ENGRAM_E_NOT_FOUND`) the
// first in the order of `concepts`, and if there are none the first in the order of first spikes.
//
// With `ENGRAM_BATCH_ATOMIC` all are served or none: if one is refused then every `out[i].status` is the status
// returned, and nothing stays allocated (though other threads may have seen some of them before). The message of
// the last error begins with the one that was refused: `concepts[3]: `.
//
// Any. It waits for its turn once, as `engram_service_allocate` does, by its earliest first spike, and for memory that readers still
// have up to 20 ms in all, and as long again if there is not room for all; else as that does, for each. With `ENGRAM_BATCH_ATOMIC` in a
// region file 256 run at the same time at most: who comes then waits for that, too, and gets `ENGRAM_E_BUSY` if it takes too long.
engram_status engram_service_allocate_batch(struct engram_service *service,
                                            const struct engram_concept *concepts,
                                            size_t count,
                                            uint32_t flags,
                                            struct engram_placement *out);

// A new version of a concept beside the old one, and then one swap: who has pinned the old one keeps it, and nobody
// sees a mixture. Id, type, links and all that was asked for beside the content (`memory_size`, priority, accesses) stay, the
// version grows by one, the first spike is that of the new content (0 to 16 MiB of any bytes; NULL if there are none). Both
// versions count against the quota for a moment. `out` may be NULL.
//
// `ENGRAM_E_NULL`: `service` or `id` is NULL, or `content` with a length above 0. `ENGRAM_E_INVALID`: the id is not 1 to 255
// bytes of UTF-8, or the content is too long. `ENGRAM_E_NOT_FOUND`, `ENGRAM_E_QUOTA`, `ENGRAM_E_NO_MEMORY`, `ENGRAM_E_BUSY` as
// for `engram_service_allocate`. The old version stays then. Any; waits as `engram_service_allocate` does.
engram_status engram_service_update(struct engram_service *service,
                                    const char *id,
                                    size_t id_length,
                                    const void *content,
                                    size_t content_length,
                                    struct engram_placement *out);

// Frees a concept's memory; its links are forgotten. `*freed_bytes`, which may be NULL, is by how much the pool's used
// bytes have fallen: they have when this returns, even if somebody still has the content pinned; 0 on failure.
//
// `ENGRAM_E_NULL`: `service` or `id` is NULL. `ENGRAM_E_INVALID`: the id is not 1 to 255 bytes of UTF-8.
// `ENGRAM_E_NOT_FOUND`: it is not allocated. `ENGRAM_E_BUSY`: a batch under way has allocated it, and may still undo that, which is not
// waited for: try again once the batch has been answered. Any; waits for who is changing the same concept (mostly some microseconds,
// but as long as memory is looked for before a refusal), and in a file for who is writing to its log of edges, which is now and then
// compacted. Takes host memory.
engram_status engram_service_deallocate(struct engram_service *service,
                                        const char *id,
                                        size_t id_length,
                                        uint64_t *freed_bytes);

// Makes known that two concepts belong together: evidence for where maintenance puts them. One with itself says
// nothing, and is `ENGRAM_OK`.
//
// `ENGRAM_E_NULL`: `service`, `from` or `to` is NULL. `ENGRAM_E_INVALID`: an id is not 1 to 255 bytes of UTF-8.
// `ENGRAM_E_NOT_FOUND`: one is not allocated. `ENGRAM_E_NO_MEMORY`: the service lies in a file that has no room left for the
// edge; it is not known then, and may be tried again. Any; takes a lock for a list's length, and in a file now and then for
// as long as its log of edges is compacted. Takes host memory.
engram_status engram_service_link(struct engram_service *service,
                                  const char *from,
                                  size_t from_length,
                                  const char *to,
                                  size_t to_length);

// Does about `budget_ns` nanoseconds of background work on the calling thread: concepts move to their neighbours,
// into spike order and out of sparse memory, and memory that is free goes back to the system. `ENGRAM_MORE` if work
// is left, or another thread is at it. In a file it compacts the log of edges once half of that says nothing any more, or no edge is
// left, in one piece whatever the budget is: about 0.1 us for each of its entries. NULL: `ENGRAM_E_NULL`. Any, while others go on; calls
// the system.
engram_status engram_service_maintain(struct engram_service *service,
                                      uint64_t budget_ns);

// When a neuron that is driven by `strength` first spikes: `20 ms * ln(strength / (strength - 0.1))`, to the nearest
// nanosecond; `ENGRAM_TTFS_NONE` at or below 0.1. `ENGRAM_E_INVALID` if it is not a number, infinite or negative,
// `ENGRAM_E_NULL` if `ttfs_ns` is NULL; on failure `*ttfs_ns` is `ENGRAM_TTFS_NONE`. Any, RT (but for a failure, which takes
// host memory).
engram_status engram_first_spike(double strength,
                                 uint32_t *ttfs_ns);

// Pins a concept's content, without copying it: `*bytes` and `*length` say where it lies until
// `engram_service_unpin`, and until then it neither changes nor moves, whatever other threads do: not when the concept
// is updated, moved or deallocated. Its memory is not given again before that either, though it no longer counts
// against the quota. Counts as an access. The pin may be handed back on another thread; while it is held,
// `engram_service_close` is `ENGRAM_E_BUSY`.
//
// `ENGRAM_E_NULL` if `service`, `id`, `bytes`, `length` or `out` is NULL, `ENGRAM_E_INVALID` if the id is not 1 to
// 255 bytes of UTF-8, `ENGRAM_E_NOT_FOUND` if it is not allocated; then `*bytes` and `*out` are NULL and `*length` is 0.
// Any; waits for nobody but others that pin, for a few instructions. Now and then it gives back what others freed, up
// to 512 blocks. Takes host memory.
engram_status engram_service_pin(struct engram_service *service,
                                 const char *id,
                                 size_t id_length,
                                 const void **bytes,
                                 size_t *length,
                                 struct engram_pin **out);

// Hands a pin back, once; its bytes must not be used afterwards. NULL: `ENGRAM_E_NULL`. Any thread, also another than
// the one that pinned; waits for nobody but others that pin, for a few instructions.
engram_status engram_service_unpin(struct engram_pin *pin);

// Writes a snapshot as one JSON object, as `snprintf` would: at most `capacity` bytes with the NUL; returns the full
// length without it. No newline at the end. A snapshot is taken in each call: ask for the length, and the text may
// have grown a little by the next.
//
// The names are `total_allocations`, `active_allocations` (what is freed and allocated anew meanwhile may be in it twice; what a batch
// has allocated is in both, and in its pool's allocations, when nothing can undo it any more: mostly when the batch is over),
// `average_allocation_time_ns`, `allocation_time_p50_ns`, `allocation_time_p99_ns`, `allocation_time_max_ns` (nanoseconds, waiting
// included), `memory_utilization`, `fragmentation_level`, `cache_hit_rate`, `edge_cut` (0 to 1), retries, relocations, and
// `pool_statistics`, an array with an object for each pool in the order of the config: `pool_id` and `concept_type` (its name),
// `quota_bytes`, `used_bytes`, `peak_bytes`, `reserve_bytes`, allocations, deallocations, refusals, expansions, `alternatives_served`.
//
// `buffer` may be NULL. NULL service: 0, and the text is empty. Any; calls the system, and takes time that grows with
// the concepts and the capacity.
size_t engram_service_metrics_json(const struct engram_service *service,
                                   char *buffer,
                                   size_t capacity);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ENGRAM_H */
