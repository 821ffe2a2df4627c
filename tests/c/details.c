/* What the header says in passing: each sentence that the other programs of this folder would not notice if it were
 * broken. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

enum { MIB = 1 << 20, SPAN = 32 << 10, MS = 1000 * 1000 };

/* A call that gives NULL or 0 and leaves the status with the thread, whatever failed before it. */
#define NOTHING(is_nothing, status)                                   \
  do {                                                                \
    engram_column *no_column;                                         \
    EQUAL(engram_column_acquire(arena, UINT32_MAX, &no_column), ENGRAM_E_INVALID); \
    CHECK(is_nothing);                                                \
    EQUAL(engram_last_error(), status);                               \
  } while (0)

struct search {
  const void *block;
  size_t seen, bytes;
  bool found;
};

static int look(void *user, void *block, size_t usable) {
  struct search *const search = user;
  search->seen++;
  search->bytes += usable;
  search->found |= block == search->block;
  return 0;
}

/* Walks a held column. */
static struct search walk(engram_column *column, const void *block) {
  struct search search = {block, 0, 0, false};
  OK(engram_column_walk(column, look, &search));
  return search;
}

/* The column whose walk shows the block; none of them is held. */
static uint32_t column_of(engram_arena *arena, const void *block) {
  const uint32_t columns = metrics_of(arena).columns;
  for (uint32_t index = 0; index < columns; index++) {
    engram_column *column;
    OK(engram_column_acquire(arena, index, &column));
    const bool found = walk(column, block).found;
    OK(engram_column_release(column));
    if (found) {
      return index;
    }
  }
  CHECK(!"no column has the block");
  return 0;
}

/* Runs a part in a child, which ends with 0 if everything held. */
static void in_a_child(void (*part)(void)) {
  fflush(NULL);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    part();
    fflush(NULL);
    _exit(0);
  }
  int how;
  CHECK(waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

/* A required pointer that is NULL is told before whatever else is wrong, and a handle even if there is nothing to do. */
static void a_null_pointer_comes_before_everything_else(void) {
  engram_arena *const arena = open_arena(4 * MIB, 4, 0);
  engram_column *column, *none;
  OK(engram_column_acquire(arena, 0, &column));
  const engram_request wrong = {0, 3, 99, 0};
  engram_arena_config config;
  engram_metrics metrics;
  void *out[1];
  size_t served;
  memset(&config, 0xff, sizeof config);
  EQUAL(engram_arena_open(&config, NULL), ENGRAM_E_NULL);
  EQUAL(engram_alloc_batch(NULL, &wrong, 1, 0xff00, out, &served), ENGRAM_E_NULL);
  EQUAL(engram_alloc_batch(arena, NULL, 1, 0xff00, out, &served), ENGRAM_E_NULL);
  EQUAL(engram_alloc_batch(arena, &wrong, 1, 0xff00, NULL, &served), ENGRAM_E_NULL);
  EQUAL(engram_free_batch(arena, NULL, 1), ENGRAM_E_NULL);
  EQUAL(engram_alloc_batch(NULL, NULL, 0, 0, NULL, NULL), ENGRAM_E_NULL);
  EQUAL(engram_free_batch(NULL, out, 0), ENGRAM_E_NULL);
  EQUAL(engram_column_acquire(NULL, 99, &none), ENGRAM_E_NULL);
  CHECK(none == NULL);
  EQUAL(engram_column_limit(NULL, 99, 0), ENGRAM_E_NULL);
  EQUAL(engram_metrics_get(NULL, &metrics, 1), ENGRAM_E_NULL);
  EQUAL(engram_metrics_get(NULL, NULL, 1), ENGRAM_E_NULL);
  NOTHING(engram_alloc_zeroed(NULL, 99, 0, 3, 0) == NULL, ENGRAM_E_NULL);
  NOTHING(engram_column_alloc_batch(column, 0, 3, 0, 1, NULL) == 0, ENGRAM_E_NULL);
  NOTHING(engram_column_alloc_batch(NULL, 0, 3, 0, 1, out) == 0, ENGRAM_E_NULL);
  NOTHING(engram_column_alloc_batch(NULL, 16, 0, 0, 0, out) == 0, ENGRAM_E_NULL);
  EQUAL(metrics_of(arena).failed, 0);
  EQUAL(metrics_of(arena).misuse, 0);
  OK(engram_column_release(column));
  OK(engram_arena_close(arena));
}

/* Of no requests, pointers or blocks the arrays may be NULL. */
static void a_batch_of_none_needs_no_arrays(void) {
  engram_arena *const arena = open_arena(4 * MIB, 4, 0);
  engram_column *column;
  OK(engram_column_acquire(arena, 0, &column));
  const engram_request request = {16, 0, 0, 0};
  void *out[1] = {&column};
  size_t served = 1;
  for (uint32_t flags = 0; flags <= (ENGRAM_BATCH_ATOMIC | ENGRAM_BATCH_ORDERED); flags++) {
    OK(engram_alloc_batch(arena, NULL, 0, flags, NULL, &served));
    EQUAL(served, 0);
    OK(engram_alloc_batch(arena, NULL, 0, flags, out, NULL));
    OK(engram_alloc_batch(arena, &request, 0, flags, NULL, NULL));
  }
  CHECK(out[0] == &column);
  OK(engram_free_batch(arena, NULL, 0));
  EQUAL(engram_column_alloc_batch(column, 16, 0, 0, 0, NULL), 0);
  EQUAL(metrics_of(arena).failed, 0);
  OK(engram_column_release(column));
  OK(engram_arena_close(arena));
}

/* ENGRAM_COLUMN_ANY is one column for all calls of a thread, a reallocation of NULL and a batch included. */
static void a_thread_has_one_home_column(void) {
  engram_arena *const arena = open_arena(8 * MIB, 16, 0);
  const uint32_t home = column_of(arena, engram_alloc(arena, ENGRAM_COLUMN_ANY, 64, 0, 0));
  const engram_request request = {5000, 0, ENGRAM_COLUMN_ANY, 30 * MS};
  void *out[1];
  OK(engram_alloc_batch(arena, &request, 1, ENGRAM_BATCH_ORDERED, out, NULL));
  void *const blocks[] = {engram_alloc(arena, ENGRAM_COLUMN_ANY, 64, 0, ENGRAM_TTFS_NONE),
                          engram_alloc_zeroed(arena, ENGRAM_COLUMN_ANY, 300, 64, 0), engram_realloc(arena, NULL, 100, 0),
                          engram_realloc(arena, NULL, 600 << 10, 0), out[0]};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
    CHECK(blocks[i] != NULL && is_aligned(blocks[i], 16));
    EQUAL(column_of(arena, blocks[i]), home);
  }
  OK(engram_arena_close(arena));
}

/* From 128 bytes to 1 MiB a block takes at most an eighth more than asked for, below 128 the next 16 bytes. */
static void no_block_takes_more_than_an_eighth_too_much(void) {
  engram_arena *const arena = open_arena(8 * MIB, 2, 0);
  for (size_t size = 1; size <= MIB; size++) {
    const size_t good = engram_good_size(arena, size);
    CHECK(good >= size && (size < 128 ? good == (size + 15) / 16 * 16 : (good - size) * 8 <= size));
    if (size < 2000 || size % 1009 == 0) {
      void *const block = engram_alloc(arena, size % 2, size, 0, 0);
      EQUAL(engram_usable_size(arena, block), good);
      OK(engram_free(arena, block));
    }
  }
  EQUAL(engram_good_size(arena, SIZE_MAX), 0);
  OK(engram_arena_close(arena));
}

/* A reallocation keeps the column, whoever holds it, and a moved one counts as an allocation and a free. */
static void a_reallocation_keeps_the_column_and_is_counted(void) {
  engram_arena *const arena = open_arena(8 * MIB, 4, 0);
  for (int is_held = 0; is_held < 2; is_held++) {
    engram_column *column = NULL;
    void *block = engram_alloc(arena, 3, 100, 0, 0);
    if (is_held) {
      OK(engram_column_acquire(arena, 3, &column));
    }
    const size_t sizes[] = {104, 200, 5000, 400 << 10, 3 * MIB, 40};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      const engram_metrics before = metrics_of(arena);
      void *const moved = engram_realloc(arena, block, sizes[i], 0);
      const int moves = moved != block;
      /* A large one may have free memory behind it. */
      CHECK(moved != NULL && (i == 4 || moves == (i > 0)));
      const engram_metrics after = metrics_of(arena);
      EQUAL(after.allocs, before.allocs + moves);
      EQUAL(after.frees, before.frees + moves);
      EQUAL(after.remote_frees, before.remote_frees + moves);
      EQUAL(after.bytes_live, engram_usable_size(arena, moved));
      EQUAL(engram_usable_size(arena, moves ? block : NULL), 0);
      block = moved;
      if (is_held) {
        CHECK(walk(column, block).found);
      } else {
        EQUAL(column_of(arena, block), 3);
      }
    }
    OK(engram_column_release(column));
    OK(engram_free(arena, block));
  }
  OK(engram_arena_verify(arena));
  OK(engram_arena_close(arena));
}

/* A holder's reallocation is its column's own: no free counts as one of others, and the highest that was live is known. What is
 * refused counts once; what was tried in vain before a block stayed as it is is no failure. */
static void a_holder_reallocates_in_its_column(void) {
  engram_arena *const arena = open_arena(8 * MIB, 4, 0);
  engram_column *column;
  OK(engram_column_acquire(arena, 2, &column));
  enum { COUNT = 1000 };
  void *blocks[COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    blocks[i] = engram_column_realloc(column, NULL, 16, 0); /* an allocation */
    CHECK(blocks[i] != NULL);
    stamp(blocks[i], 16, i);
    blocks[i] = engram_column_realloc(column, blocks[i], 500, 0);
    CHECK(blocks[i] != NULL && is_stamped(blocks[i], 16, i));
  }
  CHECK(walk(column, blocks[0]).found);
  for (size_t i = 0; i < COUNT; i++) {
    OK(engram_column_free(column, blocks[i]));
  }
  const engram_metrics metrics = metrics_of(arena);
  EQUAL(metrics.remote_frees, 0);
  CHECK(metrics.bytes_live == 0 && metrics.bytes_peak >= 500 * COUNT);

  /* Of another column, which keeps it. */
  engram_column *beside;
  OK(engram_column_acquire(arena, 3, &beside));
  void *const theirs = engram_column_realloc(column, engram_column_alloc(beside, 100, 64, 0), 3000, 0);
  CHECK((uintptr_t)theirs % 64 == 0 && walk(beside, theirs).found);
  OK(engram_column_release(beside));

  void *const block = engram_column_alloc(column, 3000, 0, 0);
  stamp(block, 3000, 9);
  OK(engram_column_limit(arena, 2, 0)); /* nothing more */
  const engram_status last = engram_last_error();
  CHECK(last != ENGRAM_E_QUOTA && engram_column_realloc(column, block, 100, 0) == block);
  EQUAL(engram_last_error(), last);
  EQUAL(metrics_of(arena).failed, 0);
  NOTHING(engram_column_realloc(column, block, 5000, 0) == NULL, ENGRAM_E_QUOTA);
  EQUAL(metrics_of(arena).failed, 1);
  NOTHING(engram_column_realloc(column, block, 0, 0) == NULL, ENGRAM_E_INVALID);
  EQUAL(metrics_of(arena).failed, 2);
  CHECK(is_stamped(block, 3000, 9));
  OK(engram_column_release(column));
  OK(engram_arena_verify(arena));
  OK(engram_arena_close(arena));
}

/* A slot that was never given is a double free as long as its span serves its class, and a bad pointer afterwards. */
static void a_slot_is_one_as_long_as_its_span_serves_its_class(void) {
  engram_arena *const arena = open_arena(4 * MIB, 2, 0);
  const size_t sizes[] = {16, 96, 1024, 5000};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    char *const block = engram_alloc(arena, 0, sizes[s], 0, 0);
    const size_t slot = engram_usable_size(arena, block);
    size_t slots = 0;
    for (char *p = block - SPAN; p < block + SPAN; p += 16) { /* every place around it */
      const bool is_slot = (p < block ? (size_t)(block - p) : (size_t)(p - block)) % slot == 0;
      const engram_status status = p == block ? ENGRAM_E_DOUBLE_FREE : engram_free(arena, p);
      CHECK(status == ENGRAM_E_BAD_POINTER || (is_slot && status == ENGRAM_E_DOUBLE_FREE));
      slots += status == ENGRAM_E_DOUBLE_FREE;
    }
    CHECK(slots >= SPAN / slot - 1);
    OK(engram_free(arena, block));
    while (engram_maintain(arena, 0) == ENGRAM_MORE) {
    }
    EQUAL(metrics_of(arena).bytes_committed, 0);
    EQUAL(engram_free(arena, block), ENGRAM_E_BAD_POINTER);
    EQUAL(engram_free(arena, block + slot), ENGRAM_E_BAD_POINTER);
  }
  OK(engram_arena_verify(arena));
  OK(engram_arena_close(arena));
}

/* Memory for some of a batch only: the earliest spikes get it, those without a spike last; served may be NULL. */
static void the_earliest_spikes_of_a_batch_are_served(void) {
  enum { COUNT = 100, FIT = 4 * MIB / (64 << 10) };
  for (int counted = 0; counted < 2; counted++) {
    engram_arena *const arena = open_arena(4 * MIB, 2, 0);
    engram_request requests[COUNT];
    void *out[COUNT];
    size_t served = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
      const uint32_t rank = i * 37 % COUNT; /* every rank once */
      requests[i] = (engram_request){64 << 10, 0, 0, rank < COUNT / 2 ? rank * MS : rank < FIT ? 1000 * MS : ENGRAM_TTFS_NONE};
    }
    EQUAL(engram_alloc_batch(arena, requests, COUNT, 0, out, counted ? &served : NULL), ENGRAM_E_NO_MEMORY);
    size_t given = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
      given += out[i] != NULL;
      CHECK((out[i] != NULL) == (i * 37 % COUNT < FIT));
    }
    EQUAL(given, FIT);
    EQUAL(served, counted ? FIT : 0);
    EQUAL(metrics_of(arena).batches, 1);
    OK(engram_free_batch(arena, out, COUNT));
    EQUAL(engram_alloc_batch(arena, requests, COUNT, ENGRAM_BATCH_ATOMIC, out, counted ? &served : NULL), ENGRAM_E_NO_MEMORY);
    for (uint32_t i = 0; i < COUNT; i++) {
      CHECK(out[i] == NULL);
    }
    EQUAL(served, 0);
    EQUAL(metrics_of(arena).bytes_live, 0);
    OK(engram_arena_close(arena));
  }
}

/* Each block of a batch answers its own request; an ordered one is in order in an arena without zones, too. */
static void an_ordered_batch_answers_each_request(void) {
  enum { COUNT = 240 };
  const size_t sizes[] = {24, 200, 3000, 40000}, aligns[] = {0, 64, 0, 4096};
  for (int zones = 0; zones < 2; zones++) {
    engram_arena *const arena = open_arena(16 * MIB, 4, zones ? 0 : ENGRAM_ARENA_NO_ZONES);
    engram_request requests[COUNT];
    char *out[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
      requests[i] = (engram_request){sizes[i % 4], aligns[i % 4], i / 4 % 3, (i * 77 % COUNT) * MS / 2};
    }
    OK(engram_alloc_batch(arena, requests, COUNT, ENGRAM_BATCH_ORDERED, (void **)out, NULL));
    for (uint32_t i = 0; i < COUNT; i++) {
      CHECK(out[i] != NULL && engram_usable_size(arena, out[i]) >= requests[i].size);
      CHECK(is_aligned(out[i], requests[i].align == 0 ? 16 : requests[i].align));
      for (uint32_t k = i % 12; k < i; k += 12) { /* of the same column and size */
        CHECK((requests[i].ttfs_ns < requests[k].ttfs_ns) == (out[i] < out[k]));
      }
    }
    for (uint32_t i = 0; i < 12; i++) {
      EQUAL(column_of(arena, out[i]), requests[i].column);
    }
    OK(engram_arena_close(arena));
  }
}

/* A limit holds for every way to allocate in the column, for no other column, and takes nothing away. */
static void a_limit_holds_for_every_way_to_allocate(void) {
  enum { COUNT = 2000 };
  engram_arena *const arena = open_arena(8 * MIB, 4, 0);
  engram_column *column;
  OK(engram_column_acquire(arena, 2, &column));
  void *out[COUNT];
  OK(engram_column_limit(arena, 2, 2 * SPAN));
  /* The blocks that fit are served from the front, the others are NULL. */
  const size_t served = engram_column_alloc_batch(column, 64, 0, 0, COUNT, out);
  EQUAL(engram_last_error(), ENGRAM_E_QUOTA);
  EQUAL(served, 2 * SPAN / 64);
  for (size_t i = 0; i < COUNT; i++) {
    CHECK((out[i] != NULL) == (i < served));
  }
  EQUAL(metrics_of(arena).bytes_committed, 2 * SPAN);
  EQUAL(metrics_of(arena).failed, 1);
  stamp(out[0], 64, 7);
  OK(engram_column_limit(arena, 2, 0)); /* below what it has */
  const engram_request request = {100, 0, 2, 0};
  void *one[1];
  for (int is_held = 1; is_held >= 0; is_held--) {
    EQUAL(engram_alloc_batch(arena, &request, 1, 0, one, NULL), ENGRAM_E_QUOTA);
    EQUAL(engram_alloc_batch(arena, &request, 1, ENGRAM_BATCH_ORDERED | ENGRAM_BATCH_ATOMIC, one, NULL), ENGRAM_E_QUOTA);
    CHECK(engram_alloc(arena, 1, 16, 0, 0) != NULL);
    NOTHING(engram_alloc(arena, 2, 100, 0, 0) == NULL, ENGRAM_E_QUOTA);
    NOTHING(engram_alloc_zeroed(arena, 2, 3 * MIB, 0, 0) == NULL, ENGRAM_E_QUOTA);
    NOTHING(engram_realloc(arena, out[0], 5000, 0) == NULL, ENGRAM_E_QUOTA);
    if (is_held) {
      NOTHING(engram_column_alloc(column, 100, 0, 0) == NULL, ENGRAM_E_QUOTA);
      NOTHING(engram_column_alloc(column, 400 << 10, 0, 0) == NULL, ENGRAM_E_QUOTA);
      OK(engram_column_release(column));
    }
  }
  CHECK(is_stamped(out[0], 64, 7));
  EQUAL(engram_usable_size(arena, out[served - 1]), 64);
  OK(engram_column_limit(arena, 2, SIZE_MAX));
  CHECK(engram_alloc(arena, 2, 2 * MIB, 0, 0) != NULL);
  OK(engram_arena_verify(arena));
  OK(engram_arena_close(arena));
}

/* A walk shows what is live: not what others freed, but what they allocated. A reset takes the column's blocks alone. */
static void a_walk_and_a_reset_see_the_column_alone(void) {
  engram_arena *const arena = open_arena(8 * MIB, 4, 0);
  engram_column *column, *beside;
  OK(engram_column_acquire(arena, 0, &column));
  OK(engram_column_acquire(arena, 1, &beside));
  void *const mine = engram_column_alloc(column, 100, 0, 0);
  void *const freed_by_others = engram_column_alloc(column, 100, 0, 0);
  void *const freed_beside = engram_column_alloc(column, 100, 0, 0);
  void *const large = engram_column_alloc(column, 700 << 10, 0, 0);
  void *const by_others = engram_alloc(arena, 0, 3000, 0, 0);
  void *const theirs = engram_column_alloc(beside, 100, 0, 0);
  stamp(theirs, 100, 3);
  OK(engram_free(arena, freed_by_others));
  OK(engram_column_free(beside, freed_beside));
  EQUAL(walk(column, mine).seen, 3);
  EQUAL(walk(column, mine).bytes,
        engram_usable_size(arena, mine) + engram_usable_size(arena, large) + engram_usable_size(arena, by_others));
  CHECK(walk(column, mine).found && walk(column, large).found && walk(column, by_others).found);
  CHECK(!walk(column, theirs).found && walk(beside, theirs).found);

  const engram_metrics before = metrics_of(arena);
  OK(engram_column_reset(column));
  EQUAL(metrics_of(arena).frees, before.frees + 3);
  EQUAL(metrics_of(arena).remote_frees, before.remote_frees);
  EQUAL(metrics_of(arena).bytes_live, engram_usable_size(arena, theirs));
  EQUAL(walk(column, NULL).seen, 0);
  EQUAL(walk(beside, theirs).seen, 1);
  CHECK(is_stamped(theirs, 100, 3));
  OK(engram_column_free(beside, theirs));
  OK(engram_column_release(column));
  OK(engram_column_release(beside));
  OK(engram_arena_verify(arena));
  OK(engram_arena_close(arena));
}

/* A visitor that frees all blocks, some through the column and some not, as soon as it is shown the first. */
struct freeing {
  engram_arena *arena;
  engram_column *column;
  void *blocks[100];
  size_t seen;
};

static int free_all(void *user, void *block, size_t usable) {
  struct freeing *const freeing = user;
  CHECK(usable > 0 && block != NULL);
  for (size_t i = 0; i < 100 && freeing->seen == 0; i++) {
    OK(i % 2 ? engram_column_free(freeing->column, freeing->blocks[i]) : engram_free(freeing->arena, freeing->blocks[i]));
  }
  freeing->seen++;
  return 0;
}

/* A walk does not show what its visitor has freed meanwhile, wherever that lies. */
static void a_walk_does_not_show_what_its_visitor_freed(void) {
  engram_arena *const arena = open_arena(16 * MIB, 1, 0);
  const size_t sizes[] = {16, 200, 1000, 5000, 40000};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    struct freeing freeing = {.arena = arena};
    OK(engram_column_acquire(arena, 0, &freeing.column));
    EQUAL(engram_column_alloc_batch(freeing.column, sizes[s], 0, 0, 100, freeing.blocks), 100);
    OK(engram_column_walk(freeing.column, free_all, &freeing));
    EQUAL(freeing.seen, 1);
    EQUAL(walk(freeing.column, NULL).seen, 0);
    OK(engram_column_release(freeing.column));
  }
  OK(engram_arena_verify(arena));
  OK(engram_arena_close(arena));
}

/* Memory is zeroed whatever freed it: a reset, a batch, a reallocation that moved, another column's holder. */
static void freed_memory_is_zeroed_whatever_freed_it(void) {
  engram_arena *const arena = open_arena(4 * MIB, 2, ENGRAM_ARENA_ZERO_FREED);
  engram_column *column, *beside;
  OK(engram_column_acquire(arena, 0, &column));
  OK(engram_column_acquire(arena, 1, &beside));
  const size_t sizes[] = {16, 200, 5000, 40000, 300 << 10};
  for (int way = 0; way < 5; way++) {
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
      void *out[4];
      EQUAL(engram_column_alloc_batch(column, sizes[s], 0, 0, 4, out), 4);
      for (size_t i = 0; i < 4; i++) {
        CHECK(is_zero(out[i], engram_usable_size(arena, out[i])));
        memset(out[i], 0xff, engram_usable_size(arena, out[i]));
      }
      switch (way) {
        case 0: OK(engram_column_reset(column)); break;
        case 1: OK(engram_free_batch(arena, out, 4)); break;
        case 2:
          for (size_t i = 0; i < 4; i++) {
            OK(engram_column_free(beside, out[i]));
          }
          break;
        case 3:
          for (size_t i = 0; i < 4; i++) {
            out[i] = engram_realloc(arena, out[i], sizes[s] * 2, 0);
            CHECK(out[i] != NULL);
          }
          OK(engram_free_batch(arena, out, 4));
          break;
        default:
          for (size_t i = 0; i < 4; i++) {
            OK(engram_column_free(column, out[i]));
          }
      }
    }
  }
  /* What was freed last is given to others, too. */
  engram_column_release(column);
  engram_column_release(beside);
  void *const whole = engram_alloc(arena, 1, 4 * MIB, 0, 0);
  CHECK(whole != NULL && is_zero(whole, 4 * MIB));
  OK(engram_arena_close(arena));
}

/* The arena that two threads maintain, and whether one of them was told that the other does. */
static engram_arena *maintained;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool told_busy;

static bool busy(bool now) {
  pthread_mutex_lock(&mutex);
  told_busy |= now;
  const bool told = told_busy;
  pthread_mutex_unlock(&mutex);
  return told;
}

static void *maintain_until_busy(void *until) {
  const time_t *const end = until;
  while (!busy(false) && time(NULL) < *end) {
    const engram_status status = engram_maintain(maintained, 100 * MS);
    CHECK(status == ENGRAM_OK || status == ENGRAM_MORE || status == ENGRAM_E_BUSY);
    if (status == ENGRAM_E_BUSY) {
      EQUAL(engram_last_error(), ENGRAM_E_BUSY);
      CHECK(strstr(last_message(), "maint") != NULL);
      busy(true);
    }
  }
  return NULL;
}

/* Errors name files, and names are kept: as many as are of use, whoever goes through ever new ones. */
static void names_of_files_are_kept_within_reason(void) {
  engram_arena_config config;
  OK(engram_arena_config_init(&config, sizeof config));
  char path[64], text[200];
  config.path = path;
  const size_t many = 5000;
  for (size_t i = 0; i <= many; i++) {
    snprintf(path, sizeof path, "no such folder/%zu", i % many);
    engram_arena *arena;
    CHECK(engram_arena_open(&config, &arena) == ENGRAM_E_OS);
    CHECK(engram_last_error_message(text, sizeof text) < sizeof text && strstr(text, "open it") != NULL);
    const bool is_named = strstr(text, path) != NULL;
    CHECK(is_named == (i % many < 4096) && (is_named || strstr(text, "a region file: ") != NULL));
  }
}

/* One thread at a time maintains, others are told so; what the budget leaves over is told, too. */
static void one_thread_at_a_time_maintains(void) {
  enum { COLUMNS = 4096 };
  maintained = open_arena(256 * MIB, COLUMNS, 0);
  CHECK(maintained != NULL);
  for (uint32_t column = 0; column < COLUMNS; column++) { /* steps to take */
    CHECK(engram_alloc(maintained, column, 16, 0, 0) != NULL);
  }
  EQUAL(engram_maintain(maintained, 0), ENGRAM_MORE);
  while (engram_maintain(maintained, 0) == ENGRAM_MORE) {
  }
  pthread_t threads[2];
  time_t end = time(NULL) + 20;
  for (size_t i = 0; i < 2; i++) {
    CHECK(pthread_create(&threads[i], NULL, maintain_until_busy, &end) == 0);
  }
  for (size_t i = 0; i < 2; i++) {
    CHECK(pthread_join(threads[i], NULL) == 0);
  }
  CHECK(busy(false));
  OK(engram_arena_verify(maintained));
  OK(engram_arena_close(maintained));
}

/* Bytes of address space that this process has. */
static size_t address_space(void) {
  FILE *const file = fopen("/proc/self/statm", "r");
  size_t pages = 0;
  CHECK(file != NULL && fscanf(file, "%zu", &pages) == 1 && fclose(file) == 0);
  return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* An arena takes as much as its size says, metadata included, and that grows with what the metadata is about. */
static void an_arena_takes_what_its_size_says(void) {
  engram_arena_config config;
  OK(engram_arena_config_init(&config, sizeof config));
  const size_t capacities[] = {2 * MIB, 64 * MIB, (size_t)4096 * MIB};
  const uint32_t columns[] = {1, 64, 65536};
  size_t sizes[3][3];
  for (size_t i = 0; i < 3; i++) {
    for (size_t k = 0; k < 3; k++) {
      config.capacity = capacities[i];
      config.columns = columns[k];
      const size_t size = sizes[i][k] = engram_arena_size(&config);
      CHECK(size > capacities[i] && (i == 0 || size - sizes[i - 1][k] >= capacities[i] - capacities[i - 1]));
      CHECK(k == 0 || size >= sizes[i][k - 1]);
      const size_t before = address_space();
      engram_arena *const arena = open_arena(capacities[i], columns[k], 0);
      CHECK(arena != NULL && address_space() - before >= size);
      OK(engram_arena_close(arena));
    }
    CHECK(sizes[i][2] > sizes[i][1] + 65536 * 64); /* a column has a line of memory at least */
  }
}

/* The line of a file of /proc that starts so; of a mapping's own part of smaps, if an address in it is given. */
static bool line_of(const char *path, const void *within, const char *start, char *line, int room) {
  FILE *const file = fopen(path, "r");
  bool found = false, inside = within == NULL;
  while (file != NULL && !found && fgets(line, room, file) != NULL) {
    uintptr_t from, to;
    if (within != NULL && sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
      inside = (uintptr_t)within >= from && (uintptr_t)within < to;
    }
    found = inside && strncmp(line, start, strlen(start)) == 0;
  }
  if (file != NULL) {
    fclose(file);
  }
  return found;
}

static long faults(void) {
  struct rusage usage;
  CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
  return usage.ru_minflt;
}

static size_t locked_kib(void) {
  char line[256];
  size_t kib = 0;
  CHECK(line_of("/proc/self/status", NULL, "VmLck:", line, sizeof line) && sscanf(line + 6, "%zu", &kib) == 1);
  return kib;
}

/* The flags that only the system sees: pages touched, locked, huge. */
static void flags_reach_the_system(void) {
  enum { CAPACITY = 4 * MIB };
  char line[512];
  for (int touched = 0; touched < 2; touched++) {
    engram_arena *const arena = open_arena(CAPACITY, 1, touched ? ENGRAM_ARENA_PREFAULT : 0);
    volatile char *const start = engram_arena_at(arena, 0);
    const long before = faults();
    for (size_t at = 0; at < CAPACITY; at += 4096) {
      start[at] = 0;
    }
    CHECK(touched ? faults() == before : faults() > before);
    OK(engram_arena_close(arena));
  }
  const size_t before = locked_kib();
  engram_arena *const locked = open_arena(CAPACITY, 1, ENGRAM_ARENA_LOCK);
  if (locked != NULL) { /* else mlock is beyond what this user is allowed */
    CHECK(locked_kib() >= before + CAPACITY / 1024);
    OK(engram_arena_close(locked));
    EQUAL(locked_kib(), before);
  }
  if (access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) == 0) {
    for (int huge = 0; huge < 2; huge++) {
      engram_arena *const arena = open_arena(CAPACITY, 1, huge ? ENGRAM_ARENA_HUGE_PAGES : 0);
      if (line_of("/proc/self/smaps", engram_arena_at(arena, CAPACITY / 2), "VmFlags:", line, sizeof line)) {
        CHECK((strstr(line, " hg") != NULL) == huge);
      }
      OK(engram_arena_close(arena));
    }
  }
}

/* Where the memory behind an address that is mapped with it ends. */
static char *mapped_to(const void *address) {
  FILE *const file = fopen("/proc/self/maps", "r");
  char line[512];
  uintptr_t from = 0, to = 0;
  CHECK(file != NULL);
  while (fgets(line, sizeof line, file) != NULL && sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2 &&
         !((uintptr_t)address >= from && (uintptr_t)address < to)) {
  }
  fclose(file);
  CHECK((uintptr_t)address >= from && (uintptr_t)address < to);
  return (char *)to;
}

/* A stray write into the metadata is found: each word that an allocation changed is set back, one at a time. */
static void a_broken_invariant_is_told(void) {
  enum { WORDS = 1 << 20 };
  static uint64_t before[WORDS];
  engram_arena *const arena = open_arena(2 * MIB, 1, 0);
  engram_column *column;
  OK(engram_column_acquire(arena, 0, &column));
  CHECK(engram_column_alloc(column, 64, 0, 0) != NULL);
  OK(engram_arena_verify(arena));
  char *const start = engram_arena_at(arena, 0);
  uint64_t *const metadata = (uint64_t *)(void *)(start + 2 * MIB);
  size_t words = (size_t)(mapped_to(start) - (char *)metadata) / sizeof *metadata;
  CHECK(words > 0 && words <= WORDS);
  memcpy(before, metadata, words * sizeof *metadata);
  CHECK(engram_column_alloc(column, 200, 0, 0) != NULL && engram_column_alloc(column, 64, 0, 0) != NULL);
  size_t told = 0, changed = 0;
  for (size_t word = 0; word < words; word++) {
    const uint64_t now = metadata[word];
    if (now != before[word]) {
      metadata[word] = before[word];
      const engram_status status = engram_arena_verify(arena);
      metadata[word] = now;
      changed++;
      CHECK(status == ENGRAM_OK || status == ENGRAM_E_INTERNAL);
      if (status == ENGRAM_E_INTERNAL) {
        told++;
        EQUAL(engram_last_error(), ENGRAM_E_INTERNAL);
        CHECK(strstr(last_message(), "invariant") != NULL);
      }
    }
  }
  CHECK(changed > 0 && told * 4 >= changed); /* some words are counts that no invariant is about */
  OK(engram_arena_verify(arena));
  OK(engram_column_release(column));
  OK(engram_arena_close(arena));
}

/* In an arena that aborts at misuse a question about a pointer is none. */
static void questions_are_no_misuse(void) {
  engram_arena *const arena = open_arena(2 * MIB, 1, ENGRAM_ARENA_ABORT);
  int local;
  EQUAL(engram_usable_size(arena, &local), 0);
  EQUAL(engram_usable_size(arena, (char *)engram_arena_at(arena, 64)), 0);
  EQUAL(engram_arena_offset(arena, &local), SIZE_MAX);
  CHECK(!engram_arena_contains(arena, &local));
  EQUAL(engram_free(NULL, &local), ENGRAM_E_NULL);
  OK(engram_free(arena, NULL));
  EQUAL(metrics_of(arena).misuse, 0);
  OK(engram_arena_close(arena));
}

static int visit_none(void *user, void *block, size_t usable) {
  (void)block, (void)usable;
  ++*(size_t *)user;
  return 0;
}

/* Nothing that is RT or lock-free calls the system: the kernel ends a process in strict mode at its first call of
 * anything but read, write and the end of the thread. */
static void no_call_of_the_system(void) {
#if defined(__linux__)
  engram_arena *const arena = open_arena(16 * MIB, 4, 0);
  engram_column *column;
  engram_metrics metrics;
  engram_arena_config config;
  static char text[8192];
  static void *out[300];
  const engram_request requests[3] = {{64, 0, 0, 5 * MS}, {5000, 64, 1, 3 * MS}, {0, 0, ENGRAM_COLUMN_ANY, 0}};
  size_t count = 0, served;
  CHECK(arena != NULL && prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);

  bool holds = engram_column_acquire(arena, 1, &column) == ENGRAM_OK && engram_column_index(column) == 1;
  holds &= engram_column_acquire(arena, 1, (engram_column **)out) == ENGRAM_E_BUSY;
  const size_t sizes[] = {16, 100, 3000, 40000, 300 << 10, 3 * MIB};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    for (uint32_t index = 0; index < 2; index++) { /* not held, held */
      void *p = engram_alloc(arena, index, sizes[s], 0, 20 * MS);
      holds &= p != NULL && engram_usable_size(arena, p) == engram_good_size(arena, sizes[s]);
      holds &= engram_arena_contains(arena, p) && engram_arena_at(arena, engram_arena_offset(arena, p)) == p;
      p = engram_realloc(arena, p, sizes[s] + 5000, 0);
      holds &= p != NULL && engram_free(arena, p) == ENGRAM_OK && engram_free(arena, p) < 0;
      p = engram_alloc_zeroed(arena, index == 0 ? ENGRAM_COLUMN_ANY : 1, sizes[s], 64, ENGRAM_TTFS_NONE);
      holds &= p != NULL && engram_column_free(column, p) == ENGRAM_OK;
      p = engram_column_alloc(column, sizes[s], 0, 0);
      holds &= p != NULL && (index == 0 ? engram_free(arena, p) : engram_column_free(column, p)) == ENGRAM_OK;
    }
  }
  for (uint32_t flags = 0; flags < 4; flags++) {
    holds &= engram_alloc_batch(arena, requests, 3, flags, out, &served) == ENGRAM_E_INVALID;
    holds &= engram_free_batch(arena, out, 3) == ENGRAM_OK;
    holds &= engram_alloc_batch(arena, requests, 2, flags, out, NULL) == ENGRAM_OK;
    holds &= engram_free_batch(arena, out, 2) == ENGRAM_OK;
  }
  holds &= engram_column_alloc_batch(column, 2000, 0, 0, 300, out) == 300;
  holds &= engram_column_walk(column, visit_none, &count) == ENGRAM_OK && count == 300;
  holds &= engram_column_reset(column) == ENGRAM_OK;
  holds &= engram_column_limit(arena, 1, 0) == ENGRAM_OK && engram_column_alloc(column, 48, 0, 0) == NULL;
  holds &= engram_last_error() == ENGRAM_E_QUOTA && engram_last_error_message(text, sizeof text) > 0;
  holds &= engram_column_release(column) == ENGRAM_OK && engram_column_release(column) == ENGRAM_E_INVALID;
  holds &= engram_metrics_get(arena, &metrics, sizeof metrics) == ENGRAM_OK && metrics.bytes_live == 0;
  holds &= engram_metrics_json(arena, text, sizeof text) > 0 && engram_metrics_openmetrics(arena, text, sizeof text) > 0;
  holds &= engram_arena_config_init(&config, sizeof config) == ENGRAM_OK && engram_arena_size(&config) > config.capacity;
  holds &= engram_status_name(ENGRAM_OK) != NULL && engram_version_string() != NULL && engram_version() > 0;
  syscall(SYS_exit, holds ? 0 : 1);
#endif
}

int main(void) {
  a_null_pointer_comes_before_everything_else();
  a_batch_of_none_needs_no_arrays();
  a_thread_has_one_home_column();
  no_block_takes_more_than_an_eighth_too_much();
  a_reallocation_keeps_the_column_and_is_counted();
  a_holder_reallocates_in_its_column();
  a_slot_is_one_as_long_as_its_span_serves_its_class();
  the_earliest_spikes_of_a_batch_are_served();
  an_ordered_batch_answers_each_request();
  a_limit_holds_for_every_way_to_allocate();
  a_walk_and_a_reset_see_the_column_alone();
  a_walk_does_not_show_what_its_visitor_freed();
  freed_memory_is_zeroed_whatever_freed_it();
  questions_are_no_misuse();
  in_a_child(a_broken_invariant_is_told);
  in_a_child(flags_reach_the_system);
  in_a_child(no_call_of_the_system);
  in_a_child(an_arena_takes_what_its_size_says);
  in_a_child(names_of_files_are_kept_within_reason);
  one_thread_at_a_time_maintains();
  return 0;
}
