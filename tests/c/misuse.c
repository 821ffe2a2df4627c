/* Every misuse that the C face knows of gives its status, a message that says what was asked and what is allowed, and
 * changes nothing: not a block's content, not the metrics (but for the counters of refusals), no invariant. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COLUMNS = 8, CAPACITY = 8 << 20, KEPT = 24 };

/* The arena that is misused, another one, and blocks in it that must stay as they are. */
static engram_arena *arena, *other;
static engram_column *held;
static void *kept[KEPT];
static size_t kept_bytes[KEPT];
static engram_metrics known;

static void set_up(void) {
  arena = open_arena(CAPACITY, COLUMNS, 0);
  other = open_arena(CAPACITY, COLUMNS, 0);
  CHECK(arena != NULL && other != NULL);
  OK(engram_column_acquire(arena, 0, &held));
  for (size_t i = 0; i < KEPT; i++) {
    kept_bytes[i] = (size_t)16 << (i % 16);
    kept[i] = i < 12 ? engram_column_alloc(held, kept_bytes[i], 0, 0) : engram_alloc(arena, 1, kept_bytes[i], 0, 0);
    CHECK(kept[i] != NULL);
    stamp(kept[i], kept_bytes[i], i);
  }
  known = metrics_of(arena);
}

/* Nothing has changed since the metrics were last known, but for the given refusals. */
static void unchanged(const char *file, int line, const char *what, uint64_t failed, uint64_t misuse) {
  engram_metrics now = metrics_of(arena);
  check_equal(file, line, "allocations refused", now.failed - known.failed, failed);
  check_equal(file, line, "frees refused", now.misuse - known.misuse, misuse);
  known.failed = now.failed;
  known.misuse = now.misuse;
  known.retries = now.retries;
  known.batches = now.batches;
  if (failed > 0 && now.bytes_committed < known.bytes_committed) {
    known.bytes_committed = now.bytes_committed; /* empty spans were brought together before it was refused */
  }
  if (memcmp(&now, &known, sizeof now) != 0) {
    failed_at(file, line, what);
  }
  for (size_t i = 0; i < KEPT; i++) {
    if (!is_stamped(kept[i], kept_bytes[i], i) || engram_usable_size(arena, kept[i]) < kept_bytes[i]) {
      failed_at(file, line, "a block has changed");
    }
  }
  if (engram_arena_verify(arena) != ENGRAM_OK || engram_arena_verify(other) != ENGRAM_OK) {
    failed_at(file, line, "an invariant is broken");
  }
}

static void says(const char *file, int line, engram_status status, const char *asked, const char *allowed) {
  check_equal(file, line, "the last error", (uint64_t)engram_last_error(), (uint64_t)status);
  if (strstr(last_message(), asked) == NULL || strstr(last_message(), allowed) == NULL) {
    char text[512];
    snprintf(text, sizeof text, "the message must say \"%s\" and \"%s\"", asked, allowed);
    failed_at(file, line, text);
  }
}

/* Forgets the last error, so that the next is surely the call's own: by a failure of another kind. */
static void forget(void) { CHECK(engram_arena_open(NULL, NULL) == ENGRAM_E_NULL); }

/* A call that gives a status. */
#define REFUSED(call, status, asked, allowed, failed, misuse)  \
  do {                                                         \
    forget();                                                  \
    EQUAL(call, status);                                       \
    says(__FILE__, __LINE__, status, asked, allowed);          \
    unchanged(__FILE__, __LINE__, #call, failed, misuse);      \
  } while (0)

/* A call that gives NULL, 0 or the like and leaves the status with the thread. */
#define NOTHING(is_nothing, status, asked, allowed, failed, misuse) \
  do {                                                              \
    forget();                                                       \
    CHECK(is_nothing);                                              \
    says(__FILE__, __LINE__, status, asked, allowed);               \
    unchanged(__FILE__, __LINE__, #is_nothing, failed, misuse);     \
  } while (0)

static const char *hex(const void *p) {
  static char text[32];
  snprintf(text, sizeof text, "%#" PRIxPTR, (uintptr_t)p);
  return text;
}

static int never(void *user, void *block, size_t usable) {
  (void)user, (void)block, (void)usable;
  CHECK(!"visited");
  return 1;
}

static void null_pointers(void) {
  engram_arena_config config;
  engram_request request = {16, 16, 0, 0};
  engram_column *column = held;
  engram_metrics metrics;
  void *out[1] = {&config};
  size_t served = 1;
  const char *const valid = "must point to a valid object";

  REFUSED(engram_arena_config_init(NULL, sizeof config), ENGRAM_E_NULL, "config is null", valid, 0, 0);
  REFUSED(engram_arena_config_init(NULL, 1), ENGRAM_E_NULL, "config is null", valid, 0, 0);
  EQUAL(engram_arena_open(NULL, NULL), ENGRAM_E_NULL);
  says(__FILE__, __LINE__, ENGRAM_E_NULL, "out is null", valid);
  OK(engram_arena_close(NULL));
  REFUSED(engram_arena_sync(NULL), ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  REFUSED(engram_arena_verify(NULL), ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  REFUSED(engram_arena_snapshot(NULL, "engram-misuse.region"), ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  REFUSED(engram_arena_snapshot(arena, NULL), ENGRAM_E_NULL, "path is null", valid, 0, 0);
  NOTHING(engram_root(NULL, 0) == 0, ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  REFUSED(engram_set_root(NULL, 0, 1), ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  NOTHING(engram_root(arena, 16) == 0, ENGRAM_E_INVALID, "root 16", "0..=15", 0, 0);
  REFUSED(engram_set_root(arena, UINT32_MAX, 1), ENGRAM_E_INVALID, "root 4294967295", "0..=15", 0, 0);
  uint64_t place = 0;
  NOTHING(engram_alloc_publish(NULL, 0, 16, 0, 0, &place) == NULL, ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  NOTHING(engram_alloc_publish(arena, 0, 16, 0, 0, NULL) == NULL, ENGRAM_E_NULL, "where is null", valid, 0, 0);
  REFUSED(engram_free_unpublish(NULL, &place), ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  REFUSED(engram_free_unpublish(arena, NULL), ENGRAM_E_NULL, "where is null", valid, 0, 0);
  NOTHING(!engram_arena_contains(NULL, kept[0]), ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  NOTHING(engram_arena_offset(NULL, kept[0]) == SIZE_MAX, ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  NOTHING(engram_arena_at(NULL, 0) == NULL, ENGRAM_E_NULL, "arena is null", valid, 0, 0);

  NOTHING(engram_alloc(NULL, 0, 16, 0, 0) == NULL, ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  NOTHING(engram_alloc(NULL, 99, 0, 3, 0) == NULL, ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  NOTHING(engram_alloc_zeroed(NULL, 0, 16, 0, 0) == NULL, ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  NOTHING(engram_realloc(NULL, kept[0], 16, 0) == NULL, ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  NOTHING(engram_realloc(NULL, NULL, 0, 0) == NULL, ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  REFUSED(engram_free(NULL, kept[0]), ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  REFUSED(engram_free(NULL, NULL), ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  NOTHING(engram_usable_size(NULL, kept[0]) == 0, ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  NOTHING(engram_good_size(NULL, 16) == 0, ENGRAM_E_NULL, "arena is null", valid, 0, 0);

  REFUSED(engram_alloc_batch(NULL, &request, 1, 0, out, &served), ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  REFUSED(engram_alloc_batch(arena, NULL, 1, 0, out, &served), ENGRAM_E_NULL, "requests is null", valid, 0, 0);
  REFUSED(engram_alloc_batch(arena, &request, 1, 0, NULL, &served), ENGRAM_E_NULL, "out is null", valid, 0, 0);
  REFUSED(engram_alloc_batch(arena, &request, 1, 0xff00, NULL, &served), ENGRAM_E_NULL, "out is null", valid, 0, 0);
  REFUSED(engram_free_batch(NULL, kept, 1), ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  REFUSED(engram_free_batch(arena, NULL, 1), ENGRAM_E_NULL, "pointers is null", valid, 0, 0);

  REFUSED(engram_column_acquire(NULL, 1, &column), ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  CHECK(column == NULL);
  REFUSED(engram_column_acquire(arena, 1, NULL), ENGRAM_E_NULL, "out is null", valid, 0, 0);
  REFUSED(engram_column_acquire(arena, 99, NULL), ENGRAM_E_NULL, "out is null", valid, 0, 0);
  OK(engram_column_release(NULL));
  NOTHING(engram_column_index(NULL) == 0, ENGRAM_E_NULL, "column is null", valid, 0, 0);
  NOTHING(engram_column_alloc(NULL, 16, 0, 0) == NULL, ENGRAM_E_NULL, "column is null", valid, 0, 0);
  NOTHING(engram_column_alloc(NULL, 0, 3, 0) == NULL, ENGRAM_E_NULL, "column is null", valid, 0, 0);
  NOTHING(engram_column_realloc(NULL, kept[0], 16, 0) == NULL, ENGRAM_E_NULL, "column is null", valid, 0, 0);
  NOTHING(engram_column_realloc(NULL, NULL, 0, 0) == NULL, ENGRAM_E_NULL, "column is null", valid, 0, 0);
  REFUSED(engram_column_free(NULL, kept[0]), ENGRAM_E_NULL, "column is null", valid, 0, 0);
  REFUSED(engram_column_free(NULL, NULL), ENGRAM_E_NULL, "column is null", valid, 0, 0);
  NOTHING(engram_column_alloc_batch(NULL, 16, 0, 0, 1, out) == 0, ENGRAM_E_NULL, "column is null", valid, 0, 0);
  NOTHING(engram_column_alloc_batch(held, 16, 0, 0, 1, NULL) == 0, ENGRAM_E_NULL, "out is null", valid, 0, 0);
  REFUSED(engram_column_reset(NULL), ENGRAM_E_NULL, "column is null", valid, 0, 0);
  REFUSED(engram_column_walk(NULL, never, NULL), ENGRAM_E_NULL, "column is null", valid, 0, 0);
  REFUSED(engram_column_walk(held, NULL, NULL), ENGRAM_E_NULL, "visit is null", valid, 0, 0);
  REFUSED(engram_column_limit(NULL, 0, 0), ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  REFUSED(engram_maintain(NULL, 0), ENGRAM_E_NULL, "arena is null", valid, 0, 0);

  REFUSED(engram_metrics_get(NULL, &metrics, sizeof metrics), ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  REFUSED(engram_metrics_get(arena, NULL, sizeof metrics), ENGRAM_E_NULL, "out is null", valid, 0, 0);
  REFUSED(engram_metrics_get(arena, NULL, 1), ENGRAM_E_NULL, "out is null", valid, 0, 0);
  char text[8] = "before";
  NOTHING(engram_metrics_json(NULL, text, sizeof text) == 0, ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  CHECK(text[0] == '\0');
  NOTHING(engram_metrics_openmetrics(NULL, text, sizeof text) == 0, ENGRAM_E_NULL, "arena is null", valid, 0, 0);
  /* No buffer: only the length is asked for, whatever its capacity. */
  CHECK(engram_metrics_json(arena, NULL, 100) > 0 && engram_metrics_openmetrics(arena, NULL, 100) > 0);
  CHECK(engram_last_error_message(NULL, 100) > 0);
}

/* With a required pointer missing the entries of the output are NULL all the same. */
static void outputs_are_null_on_failure(void) {
  engram_request request = {16, 16, 0, 0};
  void *out[2] = {&request, &request};
  size_t served = 7;
  EQUAL(engram_alloc_batch(NULL, &request, 1, 0, out, &served), ENGRAM_E_NULL);
  CHECK(out[0] == NULL && served == 0 && out[1] == &request);
  out[0] = &request;
  served = 7;
  EQUAL(engram_alloc_batch(arena, NULL, 1, 0, out, &served), ENGRAM_E_NULL);
  CHECK(out[0] == NULL && served == 0 && out[1] == &request);
  served = 7;
  EQUAL(engram_alloc_batch(arena, &request, 1, 0, NULL, &served), ENGRAM_E_NULL);
  EQUAL(served, 0);
  out[0] = &request;
  EQUAL(engram_column_alloc_batch(NULL, 16, 0, 0, 1, out), 0);
  CHECK(out[0] == NULL && out[1] == &request);
}

/* A pointer that is no block, given to everything that takes one. */
static void no_block(void *p, engram_status status) {
  const char *const why = status == ENGRAM_E_DOUBLE_FREE ? "it was freed before, or never given" : "is not the start of a block of this arena";
  REFUSED(engram_free(arena, p), status, hex(p), why, 0, 1);
  REFUSED(engram_column_free(held, p), status, hex(p), why, 0, 1);
  void *pointers[3] = {NULL, p, NULL};
  REFUSED(engram_free_batch(arena, pointers, 3), status, hex(p), why, 0, 1);
  NOTHING(engram_realloc(arena, p, 40, 0) == NULL, status, hex(p), why, 0, 1);
  NOTHING(engram_column_realloc(held, p, 40, 0) == NULL, status, hex(p), why, 0, 1);
  EQUAL(engram_usable_size(arena, p), 0);
}

static void bad_pointers(void) {
  int local = 0;
  void *const heap = malloc(64);
  no_block((void *)16, ENGRAM_E_BAD_POINTER);
  no_block((void *)1, ENGRAM_E_BAD_POINTER);
  no_block((void *)UINTPTR_MAX, ENGRAM_E_BAD_POINTER);
  no_block((void *)(UINTPTR_MAX - 15), ENGRAM_E_BAD_POINTER);
  no_block((void *)((uintptr_t)1 << 63), ENGRAM_E_BAD_POINTER);
  no_block(&local, ENGRAM_E_BAD_POINTER);
  no_block(heap, ENGRAM_E_BAD_POINTER);
  no_block((void *)(uintptr_t)&bad_pointers, ENGRAM_E_BAD_POINTER);
  free(heap);

  /* The first byte of user memory, and those around its ends. */
  char *const start = engram_arena_at(arena, 0);
  no_block(start - 16, ENGRAM_E_BAD_POINTER);
  no_block(start - (2 << 20), ENGRAM_E_BAD_POINTER); /* metadata, or before it */
  no_block(start + CAPACITY, ENGRAM_E_BAD_POINTER);
  no_block(start + CAPACITY - 16, ENGRAM_E_BAD_POINTER); /* never used */

  /* Misaligned and interior: into each block, at its start and further in. */
  for (size_t i = 0; i < KEPT; i++) {
    char *const block = kept[i];
    no_block(block + 1, ENGRAM_E_BAD_POINTER);
    no_block(block + 8, ENGRAM_E_BAD_POINTER);
    no_block(block + 15, ENGRAM_E_BAD_POINTER);
    for (size_t inside = 16; inside < kept_bytes[i]; inside *= 2) {
      no_block(block + inside, ENGRAM_E_BAD_POINTER);
    }
    if (kept_bytes[i] > 16) {
      no_block(block + kept_bytes[i] - 16, ENGRAM_E_BAD_POINTER);
    }
  }

  /* Of another arena. */
  void *const foreign = engram_alloc(other, 0, 100, 0, 0);
  stamp(foreign, 100, 1);
  no_block(foreign, ENGRAM_E_BAD_POINTER);
  CHECK(is_stamped(foreign, 100, 1));
  EQUAL(engram_arena_offset(arena, foreign), SIZE_MAX);
  CHECK(!engram_arena_contains(arena, foreign));
  OK(engram_free(other, foreign));
}

static void double_frees(void) {
  const size_t sizes[] = {16, 48, 100, 1000, 4096, 20000};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    for (int who = 0; who < 5; who++) {
      /* A second block keeps the span serving its class. Column 0 is held, column 1 is not. */
      const uint32_t column = who == 4;
      void *const stays = engram_alloc(arena, column, sizes[s], 0, 0);
      void *const block = who < 2 ? engram_column_alloc(held, sizes[s], 0, 0) : engram_alloc(arena, column, sizes[s], 0, 0);
      void *const beside = who < 2 ? engram_column_alloc(held, sizes[s], 0, 0) : engram_alloc(arena, column, sizes[s], 0, 0);
      CHECK(stays != NULL && block != NULL && beside != NULL);
      stamp(stays, sizes[s], s);
      stamp(beside, sizes[s], s + 1);
      OK(who % 2 ? engram_free(arena, block) : engram_column_free(held, block));
      known = metrics_of(arena);
      no_block(block, ENGRAM_E_DOUBLE_FREE);
      no_block((char *)block + 8, ENGRAM_E_BAD_POINTER);
      if (sizes[s] > 16) {
        no_block((char *)block + 16, ENGRAM_E_BAD_POINTER);
      }
      CHECK(is_stamped(stays, sizes[s], s) && is_stamped(beside, sizes[s], s + 1));
      OK(engram_free(arena, beside));
      known = metrics_of(arena);
      no_block(block, ENGRAM_E_DOUBLE_FREE);
      no_block(beside, ENGRAM_E_DOUBLE_FREE);
      OK(engram_free(arena, stays));
    }
  }
  /* A large block's memory serves nothing once it is freed. */
  void *const large = engram_alloc(arena, 2, 1 << 20, 0, 0);
  CHECK(large != NULL);
  OK(engram_free(arena, large));
  known = metrics_of(arena);
  no_block(large, ENGRAM_E_BAD_POINTER);

  /* All blocks of a column at once. */
  engram_column *column;
  OK(engram_column_acquire(arena, 3, &column));
  void *const reset = engram_column_alloc(column, 32, 0, 0);
  OK(engram_column_reset(column));
  known = metrics_of(arena);
  forget();
  const engram_status status = engram_free(arena, reset);
  CHECK(status == ENGRAM_E_DOUBLE_FREE || status == ENGRAM_E_BAD_POINTER);
  unchanged(__FILE__, __LINE__, "a free after a reset", 0, 1);
  OK(engram_column_release(column));
  known = metrics_of(arena);
}

static void sizes_and_alignments(void) {
  const struct {
    size_t size, align;
    uint32_t column;
    engram_status status;
    const char *asked, *allowed;
  } wrong[] = {
      {0, 0, 0, ENGRAM_E_INVALID, "size 0 was asked for", "at least 1 byte"},
      {0, 4096, 1, ENGRAM_E_INVALID, "size 0 was asked for", "at least 1 byte"},
      {SIZE_MAX, 0, 0, ENGRAM_E_NO_MEMORY, "18446744073709551615 bytes were asked for", "capacity is 8388608 bytes"},
      {SIZE_MAX - 15, 16, 1, ENGRAM_E_NO_MEMORY, "18446744073709551600 bytes were asked for", "capacity is 8388608 bytes"},
      {SIZE_MAX / 2 + 1, 2 << 20, 1, ENGRAM_E_NO_MEMORY, "9223372036854775808 bytes were asked for", "capacity is 8388608 bytes"},
      {CAPACITY + 1, 0, 0, ENGRAM_E_NO_MEMORY, "8388609 bytes were asked for", "capacity is 8388608 bytes"},
      {CAPACITY, 0, 0, ENGRAM_E_NO_MEMORY, "8388608 bytes", "no free memory would serve"},
      {16, 3, 0, ENGRAM_E_INVALID, "alignment 3 was asked for", "a power of two up to 2097152"},
      {16, 17, 1, ENGRAM_E_INVALID, "alignment 17 was asked for", "a power of two up to 2097152"},
      {5000, 48, 0, ENGRAM_E_INVALID, "alignment 48 was asked for", "a power of two up to 2097152"},
      {5000, SIZE_MAX, 0, ENGRAM_E_INVALID, "alignment 18446744073709551615", "a power of two up to 2097152"},
      {16, 4 << 20, 0, ENGRAM_E_INVALID, "alignment 4194304 was asked for", "a power of two up to 2097152"},
      {16, (size_t)1 << 63, 1, ENGRAM_E_INVALID, "alignment 9223372036854775808", "a power of two up to 2097152"},
      {SIZE_MAX, 3, 1, ENGRAM_E_INVALID, "alignment 3 was asked for", "a power of two up to 2097152"},
  };
  void *out[2];
  size_t served;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    const size_t size = wrong[i].size, align = wrong[i].align;
    const uint32_t column = wrong[i].column;
    const engram_status status = wrong[i].status;
    const char *const asked = wrong[i].asked, *const allowed = wrong[i].allowed;
    NOTHING(engram_alloc(arena, column, size, align, 0) == NULL, status, asked, allowed, 1, 0);
    NOTHING(engram_alloc(arena, ENGRAM_COLUMN_ANY, size, align, ENGRAM_TTFS_NONE) == NULL, status, asked, allowed, 1, 0);
    NOTHING(engram_alloc_zeroed(arena, column, size, align, 0) == NULL, status, asked, allowed, 1, 0);
    NOTHING(engram_column_alloc(held, size, align, 0) == NULL, status, asked, allowed, 1, 0);
    out[0] = out[1] = arena;
    NOTHING(engram_column_alloc_batch(held, size, align, 0, 2, out) == 0, status, asked, allowed, 1, 0);
    CHECK(out[0] == NULL && out[1] == NULL);
    const engram_request request = {size, align, column, 0};
    for (uint32_t flags = 0; flags < 4; flags++) {
      out[0] = arena;
      served = 7;
      REFUSED(engram_alloc_batch(arena, &request, 1, flags, out, &served), status, asked, allowed, 1, 0);
      CHECK(out[0] == NULL && served == 0);
    }
    if (align == 0) {
      for (size_t k = 0; k < KEPT; k++) {
        NOTHING(engram_realloc(arena, kept[k], size, 0) == NULL, status, asked, allowed, 1, 0);
      }
      NOTHING(engram_realloc(arena, NULL, size, 0) == NULL, status, asked, allowed, 1, 0);
    }
  }
}

static void columns_out_of_range(void) {
  const uint32_t wrong[] = {COLUMNS, COLUMNS + 1, 65536, UINT32_MAX - 1};
  void *out[1];
  size_t served;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    char asked[64];
    const char *const allowed = "this arena has 8 columns (0..=7)";
    snprintf(asked, sizeof asked, "column %" PRIu32 " is out of range", wrong[i]);
    NOTHING(engram_alloc(arena, wrong[i], 16, 0, 0) == NULL, ENGRAM_E_INVALID, asked, allowed, 1, 0);
    NOTHING(engram_alloc_zeroed(arena, wrong[i], 16, 0, 0) == NULL, ENGRAM_E_INVALID, asked, allowed, 1, 0);
    const engram_request request = {16, 16, wrong[i], 0};
    out[0] = arena;
    REFUSED(engram_alloc_batch(arena, &request, 1, 0, out, &served), ENGRAM_E_INVALID, asked, allowed, 1, 0);
    CHECK(out[0] == NULL && served == 0);
    engram_column *column = held;
    REFUSED(engram_column_acquire(arena, wrong[i], &column), ENGRAM_E_INVALID, asked, allowed, 0, 0);
    CHECK(column == NULL);
    REFUSED(engram_column_limit(arena, wrong[i], 0), ENGRAM_E_INVALID, asked, allowed, 0, 0);
  }
  engram_column *column = held;
  REFUSED(engram_column_acquire(arena, ENGRAM_COLUMN_ANY, &column), ENGRAM_E_INVALID, "column 4294967295", "8 columns", 0, 0);
  REFUSED(engram_column_limit(arena, ENGRAM_COLUMN_ANY, 0), ENGRAM_E_INVALID, "column 4294967295", "8 columns", 0, 0);
  const engram_request requests[2] = {{16, 16, 0, 0}, {16, 16, 1, 0}};
  void *two[2] = {arena, arena};
  for (uint32_t flag = 4; flag != 0; flag <<= 1) {
    char asked[64];
    snprintf(asked, sizeof asked, "unknown flags %#" PRIx32, flag);
    served = 7;
    REFUSED(engram_alloc_batch(arena, requests, 2, flag | 1, two, &served), ENGRAM_E_INVALID, asked, "the known ones are 0x3", 0, 0);
    CHECK(two[0] == NULL && two[1] == NULL && served == 0);
  }
}

/* A config that no arena is opened with, nor has a size. */
static void wrong_config(const engram_arena_config *config, engram_status status, const char *asked, const char *allowed) {
  engram_arena *opened = arena;
  REFUSED(engram_arena_open(config, &opened), status, asked, allowed, 0, 0);
  CHECK(opened == NULL);
  if (status == ENGRAM_E_INVALID) {
    NOTHING(engram_arena_size(config) == 0, status, asked, allowed, 0, 0);
  }
}

static void configs(void) {
  engram_arena_config good, config;
  OK(engram_arena_config_init(&good, sizeof good));
  char ours[64];
  snprintf(ours, sizeof ours, "this library's is %zu", sizeof good);

  memset(&config, 0x5a, sizeof config);
  engram_arena_config untouched = config;
  const size_t sizes[] = {0, 4, sizeof good - 1, sizeof good + 1, SIZE_MAX};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char asked[64];
    snprintf(asked, sizeof asked, "struct_size is %zu", sizes[i]);
    REFUSED(engram_arena_config_init(&config, sizes[i]), ENGRAM_E_INVALID, asked, ours, 0, 0);
    CHECK(memcmp(&config, &untouched, sizeof config) == 0);
    engram_metrics metrics, before;
    memset(&metrics, 0x5a, sizeof metrics);
    before = metrics;
    REFUSED(engram_metrics_get(arena, &metrics, sizes[i] == sizeof metrics ? 1 : sizes[i]), ENGRAM_E_INVALID, "struct_size is", "this library's is", 0, 0);
    CHECK(memcmp(&metrics, &before, sizeof metrics) == 0);
  }
  const uint32_t struct_sizes[] = {0, 4, (uint32_t)sizeof good - 4, (uint32_t)sizeof good + 4, UINT32_MAX};
  for (size_t i = 0; i < sizeof struct_sizes / sizeof *struct_sizes; i++) {
    char asked[64];
    config = good;
    config.struct_size = struct_sizes[i];
    snprintf(asked, sizeof asked, "struct_size is %" PRIu32, struct_sizes[i]);
    wrong_config(&config, ENGRAM_E_INVALID, asked, ours);
  }
  for (uint32_t flag = 1u << 8; flag != 0; flag <<= 1) {
    char asked[64];
    config = good;
    config.flags = flag | ENGRAM_ARENA_NO_ZONES;
    snprintf(asked, sizeof asked, "unknown flags %#" PRIx32, flag);
    wrong_config(&config, ENGRAM_E_INVALID, asked, "the known ones are 0xff");
  }
  config = good;
  config.reserved0 = 1;
  wrong_config(&config, ENGRAM_E_INVALID, "a reserved field is not zero", "init function");
  for (size_t i = 0; i < 8; i++) {
    config = good;
    config.reserved[i] = UINT32_MAX;
    wrong_config(&config, ENGRAM_E_INVALID, "a reserved field is not zero", "init function");
  }
  config = good;
  config.capacity = 0;
  wrong_config(&config, ENGRAM_E_INVALID, "a capacity of 0 bytes", "1 to 1099511627776");
  config.capacity = SIZE_MAX;
  wrong_config(&config, ENGRAM_E_INVALID, "a capacity of 18446744073709551615 bytes", "1 to 1099511627776");
  config.capacity = ((size_t)1 << 40) + 1;
  wrong_config(&config, ENGRAM_E_INVALID, "a capacity of 1099511627777 bytes", "1 to 1099511627776");
  config = good;
  config.columns = 0;
  wrong_config(&config, ENGRAM_E_INVALID, "0 columns were asked for", "1 to 65536");
  config.columns = 65537;
  wrong_config(&config, ENGRAM_E_INVALID, "65537 columns were asked for", "1 to 65536");
  config.columns = UINT32_MAX;
  wrong_config(&config, ENGRAM_E_INVALID, "4294967295 columns were asked for", "1 to 65536");

  /* A file that cannot be one, memory that is too small or lies wrong, both at once. */
  void *const memory = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  config = good;
  config.path = "no such folder/engram-misuse.region";
  wrong_config(&config, ENGRAM_E_OS, "no such folder/engram-misuse.region", "open it");
  config.path = ".";
  wrong_config(&config, ENGRAM_E_OS, ".: ", "open it");
  config.path = "/dev/null";
  wrong_config(&config, ENGRAM_E_FORMAT, "/dev/null", "no ordinary file");
  config.path = "";
  wrong_config(&config, ENGRAM_E_INVALID, "path is empty", "name a file");
  config.path = "engram-misuse.region";
  config.memory = memory;
  config.memory_size = 4 << 20;
  wrong_config(&config, ENGRAM_E_INVALID, "path and memory are both set", "not in both");
  CHECK(access(config.path, F_OK) != 0);
  config.path = NULL;
  engram_arena *opened = arena;
  REFUSED(engram_arena_open(&config, &opened), ENGRAM_E_INVALID, "4194304 bytes of memory were given", "such an arena takes", 0, 0);
  CHECK(opened == NULL);
  config.memory = (char *)memory + 16;
  REFUSED(engram_arena_open(&config, &opened), ENGRAM_E_INVALID, "given memory", "multiple of 4096", 0, 0);
  config.memory = memory;
  const size_t too_long[] = {SIZE_MAX, SIZE_MAX / 2 + 1, SIZE_MAX - (uintptr_t)memory + 1};
  for (size_t i = 0; i < sizeof too_long / sizeof *too_long; i++) {
    config.memory_size = too_long[i];
    REFUSED(engram_arena_open(&config, &opened), ENGRAM_E_INVALID, "the given memory", "beyond the end of the address space", 0, 0);
  }
  config.memory = NULL;
  wrong_config(&config, ENGRAM_E_INVALID, "memory_size is set but memory is NULL", "give both or neither");
  CHECK(is_zero(memory, 4 << 20));

  /* A struct of another version may be shorter: nothing behind its struct_size is looked at. */
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  char *const pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(pages != MAP_FAILED && mprotect(pages + page, page, PROT_NONE) == 0);
  memset(pages, 0, page);
  engram_arena_config *const shorter = (engram_arena_config *)(void *)(pages + page - 8);
  memcpy(shorter, &(uint32_t){8}, sizeof(uint32_t));
  wrong_config(shorter, ENGRAM_E_INVALID, "struct_size is 8", ours);
  munmap(pages, 2 * page);
  munmap(memory, 4 << 20);
}

static void busy(void) {
  engram_column *second = held;
  REFUSED(engram_column_acquire(arena, 0, &second), ENGRAM_E_BUSY, "column 0 is held", "once it is released", 0, 0);
  CHECK(second == NULL);
  REFUSED(engram_arena_close(arena), ENGRAM_E_BUSY, "while column 0 is held", "release it first", 0, 0);
  /* The arena still works. */
  void *const block = engram_column_alloc(held, 100, 0, 0);
  CHECK(block != NULL);
  OK(engram_free(arena, block));
  known = metrics_of(arena);

  OK(engram_column_acquire(arena, 5, &second));
  void *const stays = engram_column_alloc(second, 100, 0, 0);
  stamp(stays, 100, 5);
  OK(engram_column_release(second));
  known = metrics_of(arena);
  REFUSED(engram_column_release(second), ENGRAM_E_INVALID, "this column is not held", "acquire it first", 0, 0);
  REFUSED(engram_column_reset(second), ENGRAM_E_INVALID, "this column is not held", "acquire it first", 0, 0);
  REFUSED(engram_column_walk(second, never, NULL), ENGRAM_E_INVALID, "this column is not held", "acquire it first", 0, 0);
  CHECK(is_stamped(stays, 100, 5));
  engram_column *again;
  OK(engram_column_acquire(arena, 5, &again));
  OK(engram_column_free(again, stays));
  OK(engram_column_release(again));
  known = metrics_of(arena);
  REFUSED(engram_column_release(again), ENGRAM_E_INVALID, "this column is not held", "acquire it first", 0, 0);
}

static void quota(void) {
  OK(engram_column_limit(arena, 6, 32 << 10));
  void *const fits = engram_alloc(arena, 6, 32, 0, 0);
  CHECK(fits != NULL);
  known = metrics_of(arena);
  const char *const allowed = "column 6 may have 32768 bytes of spans and has 32768";
  NOTHING(engram_alloc(arena, 6, 5000, 0, 0) == NULL, ENGRAM_E_QUOTA, "more were asked for", allowed, 1, 0);
  NOTHING(engram_alloc(arena, 6, 1 << 20, 0, 0) == NULL, ENGRAM_E_QUOTA, "1048576 more were asked for", allowed, 1, 0);
  NOTHING(engram_realloc(arena, fits, 1 << 20, 0) == NULL, ENGRAM_E_QUOTA, "1048576 more were asked for", allowed, 1, 0);
  OK(engram_free(arena, fits));
  OK(engram_column_limit(arena, 6, SIZE_MAX));
  known = metrics_of(arena);
}

/* At every capacity from 0 to length + 1: the full length is returned, what fits is written and ended with a NUL, and
 * nothing behind it. */
static void as_snprintf(size_t (*write)(char *, size_t)) {
  char whole[8192], part[8192];
  const size_t length = write(whole, sizeof whole);
  CHECK(length > 0 && length < sizeof whole && strlen(whole) == length && whole[length - 1] != '\0');
  for (size_t capacity = 0; capacity <= length + 1; capacity++) {
    memset(part, 0x7f, sizeof part);
    EQUAL(write(part, capacity), length);
    if (capacity > 0) {
      EQUAL(strlen(part), capacity - 1);
      CHECK(memcmp(part, whole, capacity - 1) == 0);
    }
    for (size_t i = capacity; i < length + 16; i++) {
      EQUAL(part[i], 0x7f);
    }
  }
  EQUAL(write(NULL, 0), length);
}

static size_t json(char *buffer, size_t capacity) { return engram_metrics_json(arena, buffer, capacity); }
static size_t openmetrics(char *buffer, size_t capacity) { return engram_metrics_openmetrics(arena, buffer, capacity); }

static void texts(void) {
  as_snprintf(json);
  as_snprintf(openmetrics);
  EQUAL(engram_free(arena, (void *)48), ENGRAM_E_BAD_POINTER);
  as_snprintf(engram_last_error_message);
  known = metrics_of(arena);
}

static void *another_thread(void *wanted) {
  (void)wanted;
  EQUAL(engram_last_error(), ENGRAM_OK);
  EQUAL(engram_last_error_message(NULL, 0), 0);
  EQUAL(engram_free(arena, (void *)32), ENGRAM_E_BAD_POINTER);
  EQUAL(engram_last_error(), ENGRAM_E_BAD_POINTER);
  return NULL;
}

static void the_last_error_is_the_threads_own_and_stays(void) {
  CHECK(engram_alloc(arena, 0, 16, 48, 0) == NULL);
  void *const block = engram_alloc(arena, 0, 16, 16, 0);
  CHECK(block != NULL);
  OK(engram_free(arena, block));
  OK(engram_column_limit(arena, 0, SIZE_MAX));
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, another_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
  says(__FILE__, __LINE__, ENGRAM_E_INVALID, "alignment 48", "a power of two");
  known = metrics_of(arena);
}

/* A batch of frees frees all it can, and tells the first error. */
static void a_batch_with_a_bad_entry(void) {
  void *pointers[5];
  pointers[0] = engram_alloc(arena, 1, 32, 0, 0);
  pointers[1] = (void *)64;
  pointers[2] = pointers[0];
  pointers[3] = NULL;
  pointers[4] = engram_alloc(arena, 1, 32, 0, 0);
  const uint64_t live = metrics_of(arena).bytes_live, misuse = metrics_of(arena).misuse;
  EQUAL(engram_free_batch(arena, pointers, 5), ENGRAM_E_BAD_POINTER);
  says(__FILE__, __LINE__, ENGRAM_E_BAD_POINTER, "0x40", "not the start of a block");
  EQUAL(metrics_of(arena).bytes_live, live - 64);
  EQUAL(metrics_of(arena).misuse, misuse + 2);
  known = metrics_of(arena);
}

/* With ENGRAM_ARENA_ABORT misuse prints one line and aborts: in a child, whose standard error is read. */
static void aborts(int way) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  fflush(NULL);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    engram_arena *const strict = open_arena(2 << 20, 2, ENGRAM_ARENA_ABORT);
    engram_column *column;
    OK(engram_column_acquire(strict, 0, &column));
    void *const block = engram_column_alloc(column, 64, 0, 0);
    void *const unheld = engram_alloc(strict, 1, 64, 0, 0);
    /* Refused allocations, and everything that is no misuse of a pointer, are a status as ever. */
    CHECK(engram_column_alloc(column, 0, 0, 0) == NULL && engram_alloc(strict, 5, 1, 0, 0) == NULL);
    OK(engram_column_free(column, block));
    OK(engram_free(strict, unheld));
    void *pointers[1] = {block};
    switch (way) {
      case 0: engram_column_free(column, block); break;
      case 1: engram_free(strict, block); break;
      case 2: engram_free(strict, (void *)160); break;
      case 3: engram_free_batch(strict, pointers, 1); break;
      case 4: (void)engram_realloc(strict, unheld, 100, 0); break;
      default: engram_column_free(column, (char *)block + 1); break;
    }
    _exit(0); /* not reached */
  }
  close(ends[1]);
  char text[1024];
  size_t length = 0;
  for (ssize_t got; length < sizeof text - 1 && (got = read(ends[0], text + length, sizeof text - 1 - length)) > 0;) {
    length += (size_t)got;
  }
  text[length] = '\0';
  close(ends[0]);
  int how;
  CHECK(waitpid(child, &how, 0) == child);
  CHECK(WIFSIGNALED(how) && WTERMSIG(how) == SIGABRT);
  CHECK(strncmp(text, "engram: 0x", 10) == 0);
  CHECK(strchr(text, '\n') == text + length - 1); /* one line */
  CHECK(strstr(text, "is not handed out") != NULL || strstr(text, "is not the start of a block") != NULL);
}

/* A count that no memory has is refused, and nothing is written or read. */
static void a_batch_that_no_memory_holds(void) {
  const engram_request request = {16, 16, 0, 0};
  const size_t counts[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / sizeof request};
  /* More than are served in one call: an int that was -1, and the least of them. */
  const size_t requests[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / sizeof request, UINT32_MAX, ((size_t)1 << 31) + 1};
  for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
    char asked[64];
    snprintf(asked, sizeof asked, "a batch of %zu requests", requests[i]);
    const char *const allowed = "at most 2147483648";
    void *out[1] = {arena};
    size_t served = 7;
    REFUSED(engram_alloc_batch(arena, &request, requests[i], 0, out, &served), ENGRAM_E_INVALID, asked, allowed, 0, 0);
    CHECK(served == 0 && out[0] == arena);
    EQUAL(engram_alloc_batch(NULL, &request, requests[i], 0, out, &served), ENGRAM_E_NULL);
    CHECK(out[0] == arena);
  }
  void *out[1] = {kept[0]};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    char asked[64];
    snprintf(asked, sizeof asked, "an array of %zu entries", counts[i]);
    /* Of these no number of requests is the limit, but what memory holds. */
    const char *const allowed = "at most 384307168202282325";
    NOTHING(engram_column_alloc_batch(held, 16, 0, 0, counts[i], out) == 0, ENGRAM_E_INVALID, asked, allowed, 0, 0);
    REFUSED(engram_free_batch(arena, out, counts[i]), ENGRAM_E_INVALID, asked, allowed, 0, 0);
    CHECK(out[0] == kept[0]);
  }
}

/* Nothing is free any more: the message says what was asked for, and not which slot would have served it. */
static void what_no_memory_serves(size_t size, size_t align, size_t told) {
  enum { FULL = 4 << 20, SPAN = 32 << 10 };
  engram_arena *const full = open_arena(FULL, 2, 0);
  engram_column *column;
  void *spans[FULL / SPAN + 1], *block, *latest[2], *out[2];
  size_t filled = 0, served = 0;
  char wanted[128];
  snprintf(wanted, sizeof wanted, "no free memory would serve %zu bytes aligned to %zu", size, told);
#define TOLD(is_nothing)                                           \
  do {                                                             \
    forget();                                                      \
    CHECK(is_nothing);                                             \
    says(__FILE__, __LINE__, ENGRAM_E_NO_MEMORY, wanted, wanted);  \
  } while (0)
  OK(engram_column_acquire(full, 1, &column));
  while ((block = engram_alloc(full, 0, SPAN, 0, 0)) != NULL) {
    spans[filled++] = block;
  }
  for (int again = 0; again < 2; again++) {
    TOLD(engram_column_alloc(column, size, align, 0) == NULL);
    TOLD(engram_column_alloc_batch(column, size, align, 0, 2, out) == 0);
    TOLD(engram_alloc(full, 1, size, align, 0) == NULL);
    TOLD(engram_alloc_zeroed(full, 1, size, align, 0) == NULL);
  }
  if (align == 0) {
    TOLD(engram_column_realloc(column, NULL, size, 0) == NULL);
  }
  while (filled > 0) {
    OK(engram_free(full, spans[--filled]));
  }
  /* Others are served by the same slots, and what others freed is met on the way. */
  while ((block = engram_column_alloc(column, size - 1, align, 0)) != NULL) {
    latest[served++ % 2] = block;
  }
  CHECK(served >= 2);
  for (int freed = 0; freed <= 2; freed++) {
    for (int i = 0; i < freed; i++) {
      OK(engram_free(full, latest[i]));
    }
    for (int i = 0; i < freed; i++) {
      latest[i] = engram_column_alloc(column, size - 1, align, 0);
      CHECK(latest[i] != NULL);
    }
    TOLD(engram_column_alloc(column, size, align, 0) == NULL);
    OK(engram_column_free(column, latest[0]));
    latest[0] = engram_column_alloc(column, size - 1, align, 0);
    CHECK(latest[0] != NULL);
    TOLD(engram_column_alloc_batch(column, size, align, 0, 2, out) == 0);
  }
#undef TOLD
  OK(engram_arena_verify(full));
  OK(engram_column_release(column));
  OK(engram_arena_close(full));
}

static void no_memory(void) {
  const size_t sizes[] = {60, 500, 1000, 4098, 5000, 40000, 300001};
  const size_t aligns[] = {0, 1, 8, 16, 32, 64, 4096, 32 << 10};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    for (size_t a = 0; a < sizeof aligns / sizeof *aligns; a++) {
      what_no_memory_serves(sizes[s], aligns[a], aligns[a] < 16 ? 16 : aligns[a]);
    }
  }
}

int main(void) {
  set_up();
  null_pointers();
  bad_pointers();
  double_frees();
  sizes_and_alignments();
  columns_out_of_range();
  configs();
  busy();
  quota();
  no_memory();
  texts();
  the_last_error_is_the_threads_own_and_stays();
  a_batch_with_a_bad_entry();
  a_batch_that_no_memory_holds();
  for (int way = 0; way < 6; way++) {
    aborts(way);
  }
  outputs_are_null_on_failure();
  unchanged(__FILE__, __LINE__, "something", 0, 0);
  for (size_t i = 0; i < KEPT; i++) {
    OK(engram_free(arena, kept[i]));
  }
  EQUAL(metrics_of(arena).bytes_live, 0);
  OK(engram_column_release(held));
  OK(engram_arena_close(arena));
  OK(engram_arena_close(other));
  return 0;
}
