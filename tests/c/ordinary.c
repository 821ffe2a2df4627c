/* Every function, flag and status of the C face in ordinary use. Says "json:" and "openmetrics:", each followed by what
 * the text functions give, for the caller to check their grammar. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MS = 1000 * 1000 };

static void versions_and_names(void) {
  const struct {
    engram_status status;
    const char *name;
  } names[] = {
      {ENGRAM_OK, "ENGRAM_OK"},
      {ENGRAM_MORE, "ENGRAM_MORE"},
      {ENGRAM_RECOVERED, "ENGRAM_RECOVERED"},
      {ENGRAM_E_NULL, "ENGRAM_E_NULL"},
      {ENGRAM_E_INVALID, "ENGRAM_E_INVALID"},
      {ENGRAM_E_NO_MEMORY, "ENGRAM_E_NO_MEMORY"},
      {ENGRAM_E_QUOTA, "ENGRAM_E_QUOTA"},
      {ENGRAM_E_BUSY, "ENGRAM_E_BUSY"},
      {ENGRAM_E_NOT_FOUND, "ENGRAM_E_NOT_FOUND"},
      {ENGRAM_E_OS, "ENGRAM_E_OS"},
      {ENGRAM_E_FORMAT, "ENGRAM_E_FORMAT"},
      {ENGRAM_E_BAD_POINTER, "ENGRAM_E_BAD_POINTER"},
      {ENGRAM_E_DOUBLE_FREE, "ENGRAM_E_DOUBLE_FREE"},
      {ENGRAM_E_UNSUPPORTED, "ENGRAM_E_UNSUPPORTED"},
      {ENGRAM_E_EXISTS, "ENGRAM_E_EXISTS"},
      {ENGRAM_E_INTERNAL, "ENGRAM_E_INTERNAL"},
      {3, "ENGRAM_E_?"},
      {-14, "ENGRAM_E_?"},
      {INT32_MIN, "ENGRAM_E_?"},
      {INT32_MAX, "ENGRAM_E_?"},
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    CHECK(strcmp(engram_status_name(names[i].status), names[i].name) == 0);
  }
  const uint32_t version = engram_version();
  char text[32];
  snprintf(text, sizeof text, "%u.%u.%u", version / 1000000, version / 1000 % 1000, version % 1000);
  CHECK(strncmp(engram_version_string(), text, strlen(text)) == 0);
}

static void nothing_has_failed_yet(void) {
  char text[8] = "before";
  EQUAL(engram_last_error(), ENGRAM_OK);
  EQUAL(engram_last_error_message(text, sizeof text), 0);
  CHECK(text[0] == '\0');
  EQUAL(engram_last_error_message(NULL, 0), 0);
}

static void the_defaults(void) {
  engram_arena_config config;
  memset(&config, 0xa5, sizeof config);
  OK(engram_arena_config_init(&config, sizeof config));
  EQUAL(config.struct_size, sizeof config);
  EQUAL(config.flags, 0);
  CHECK(config.path == NULL);
  EQUAL(config.capacity, 64u << 20);
  EQUAL(config.columns, 64);
  EQUAL(config.reserved0, 0);
  CHECK(config.memory == NULL);
  EQUAL(config.memory_size, 0);
  CHECK(is_zero(config.reserved, sizeof config.reserved));

  engram_arena *arena;
  OK(engram_arena_open(NULL, &arena));
  EQUAL(metrics_of(arena).bytes_capacity, 64u << 20);
  EQUAL(metrics_of(arena).columns, 64);
  CHECK(engram_arena_size(NULL) == engram_arena_size(&config) && engram_arena_size(NULL) > config.capacity);
  OK(engram_arena_verify(arena));
  OK(engram_arena_sync(arena));
  OK(engram_arena_close(arena));
  OK(engram_arena_close(NULL));

  config.capacity = 1; /* rounded up */
  config.columns = 1;
  OK(engram_arena_open(&config, &arena));
  EQUAL(metrics_of(arena).bytes_capacity, 2u << 20);
  CHECK(engram_arena_size(&config) >= (2u << 20));
  OK(engram_arena_close(arena));

  config.columns = 65536;
  OK(engram_arena_open(&config, &arena));
  engram_column *last;
  OK(engram_column_acquire(arena, 65535, &last));
  void *const block = engram_column_alloc(last, 100, 0, 0);
  CHECK(block != NULL);
  OK(engram_column_free(last, block));
  OK(engram_column_release(last));
  OK(engram_arena_close(arena));
}

static void allocation_without_a_column(engram_arena *arena) {
  const uint32_t columns[] = {0, 3, ENGRAM_COLUMN_ANY};
  const size_t sizes[] = {1, 16, 17, 100, 4096, 4097, 35000, 262144, 262145, 2u << 20, (2u << 20) + 1};
  const size_t aligns[] = {0, 1, 16, 32, 64, 4096, 65536, 2u << 20};
  const uint32_t times[] = {0, 2 * MS, 20 * MS, ENGRAM_TTFS_NONE};
  uint64_t owner = 1;
  for (size_t c = 0; c < 3; c++) {
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
      for (size_t a = 0; a < sizeof aligns / sizeof *aligns; a++, owner++) {
        void *const block = engram_alloc(arena, columns[c], sizes[s], aligns[a], times[owner % 4]);
        CHECK(block != NULL && is_aligned(block, aligns[a] < 16 ? 16 : aligns[a]));
        const size_t usable = engram_usable_size(arena, block);
        CHECK(usable >= sizes[s]);
        if (aligns[a] <= 16) {
          EQUAL(usable, engram_good_size(arena, sizes[s]));
        }
        CHECK(engram_arena_contains(arena, block) && engram_arena_contains(arena, (char *)block + usable - 1));
        CHECK(engram_arena_at(arena, engram_arena_offset(arena, block)) == block);
        memset(block, 0xff, usable);
        OK(engram_free(arena, block));
        EQUAL(engram_usable_size(arena, block), 0);

        void *const zeroed = engram_alloc_zeroed(arena, columns[c], sizes[s], aligns[a], times[owner % 4]);
        CHECK(zeroed != NULL && is_zero(zeroed, sizes[s]) && is_aligned(zeroed, aligns[a] == 0 ? 16 : aligns[a]));
        OK(engram_free(arena, zeroed));
      }
    }
  }
  OK(engram_free(arena, NULL));
  EQUAL(engram_usable_size(arena, NULL), 0);
  EQUAL(engram_good_size(arena, 0), 0);
  EQUAL(engram_good_size(arena, metrics_of(arena).bytes_capacity + 1), 0);
  EQUAL(metrics_of(arena).bytes_live, 0);
  EQUAL(metrics_of(arena).allocs, metrics_of(arena).frees);
}

static void reallocation(engram_arena *arena) {
  void *block = engram_realloc(arena, NULL, 10, 0); /* an allocation */
  CHECK(block != NULL);
  OK(engram_free(arena, block));
  for (size_t align = 16; align <= (2u << 20); align *= 8) {
    block = engram_alloc(arena, 5, 40, align, 3 * MS);
    CHECK(block != NULL);
    size_t has = 40;
    stamp(block, has, align);
    const size_t sizes[] = {48, 1000, 999, 5000, 40000, 300000, 3u << 20, 200, 24};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
      block = engram_realloc(arena, block, sizes[s], ENGRAM_TTFS_NONE);
      CHECK(block != NULL && is_aligned(block, align) && engram_usable_size(arena, block) >= sizes[s]);
      CHECK(is_stamped(block, has < sizes[s] ? has : sizes[s], align));
      has = sizes[s];
      stamp(block, has, align);
    }
    OK(engram_free(arena, block));
  }
  /* In its size class a block stays where it is. */
  block = engram_alloc(arena, 5, 1000, 0, 0);
  CHECK(engram_realloc(arena, block, engram_usable_size(arena, block), 0) == block);
  OK(engram_free(arena, block));
  EQUAL(metrics_of(arena).bytes_live, 0);
}

static int count_visits(void *user, void *block, size_t usable) {
  uintptr_t *const seen = user; /* how many, the last address, when to stop, bytes */
  CHECK((uintptr_t)block > seen[1]);
  seen[0]++;
  seen[1] = (uintptr_t)block;
  seen[3] += usable;
  return seen[0] == seen[2];
}

static void a_held_column(engram_arena *arena) {
  engram_column *column, *second;
  OK(engram_column_acquire(arena, 7, &column));
  EQUAL(engram_column_index(column), 7);
  EQUAL(engram_column_acquire(arena, 7, &second), ENGRAM_E_BUSY);
  CHECK(second == NULL && strstr(last_message(), "column 7 is held") != NULL);
  OK(engram_column_acquire(arena, 8, &second));

  const engram_metrics before = metrics_of(arena);
  void *blocks[300];
  size_t bytes = 0;
  for (size_t i = 0; i < 300; i++) {
    blocks[i] = engram_column_alloc(column, 1 + i * i, i % 3 ? 0 : 64, (uint32_t)i * MS);
    CHECK(blocks[i] != NULL && is_aligned(blocks[i], i % 3 ? 16 : 64));
    stamp(blocks[i], 1 + i * i, i);
    bytes += engram_usable_size(arena, blocks[i]);
  }
  EQUAL(metrics_of(arena).allocs, before.allocs + 300);
  EQUAL(metrics_of(arena).bytes_live, before.bytes_live + bytes);
  uintptr_t seen[4] = {0, 0, 0, 0};
  OK(engram_column_walk(column, count_visits, seen));
  EQUAL(seen[0], 300);
  EQUAL(seen[3], bytes);
  uintptr_t stopped[4] = {0, 0, 5, 0};
  OK(engram_column_walk(column, count_visits, stopped));
  EQUAL(stopped[0], 5);
  for (size_t i = 0; i < 300; i++) {
    CHECK(is_stamped(blocks[i], 1 + i * i, i));
    switch (i % 3) {
      case 0: OK(engram_column_free(column, blocks[i])); break;
      case 1: OK(engram_column_free(second, blocks[i])); break; /* of another column */
      default: OK(engram_free(arena, blocks[i]));
    }
  }
  OK(engram_column_free(column, NULL));
  EQUAL(metrics_of(arena).frees, before.frees + 300);
  EQUAL(metrics_of(arena).remote_frees, before.remote_frees + 200);
  EQUAL(metrics_of(arena).bytes_live, before.bytes_live);

  EQUAL(engram_column_alloc_batch(column, 50, 0, ENGRAM_TTFS_NONE, 300, blocks), 300);
  EQUAL(engram_column_alloc_batch(column, 50, 0, ENGRAM_TTFS_NONE, 0, blocks), 0);
  EQUAL(metrics_of(arena).batches, before.batches + 2);
  void *const by_others = engram_alloc(arena, 7, 50, 0, 0); /* while it is held */
  CHECK(by_others != NULL);
  seen[0] = seen[1] = seen[3] = 0;
  OK(engram_column_walk(column, count_visits, seen));
  EQUAL(seen[0], 301);
  OK(engram_column_reset(column));
  EQUAL(engram_usable_size(arena, by_others), 0);
  EQUAL(metrics_of(arena).bytes_live, before.bytes_live);
  EQUAL(metrics_of(arena).frees, before.frees + 601);
  EQUAL(metrics_of(arena).remote_frees, before.remote_frees + 200);
  seen[0] = 0;
  OK(engram_column_walk(column, count_visits, seen));
  EQUAL(seen[0], 0);

  /* Blocks stay valid when the column is released. */
  void *const stays = engram_column_alloc(column, 500, 0, 0);
  stamp(stays, 500, 9);
  OK(engram_column_release(column));
  OK(engram_column_release(NULL));
  OK(engram_column_acquire(arena, 7, &column));
  CHECK(is_stamped(stays, 500, 9));
  OK(engram_column_free(column, stays));
  OK(engram_column_release(column));
  OK(engram_column_release(second));
  OK(engram_arena_verify(arena));
}

static void batches(engram_arena *arena) {
  enum { COUNT = 200 };
  engram_request requests[COUNT];
  void *out[COUNT];
  size_t served = 0;
  for (size_t i = 0; i < COUNT; i++) {
    requests[i] = (engram_request){.size = 40, .align = 0, .column = (uint32_t)(i % 2), .ttfs_ns = (uint32_t)(i * 7919 % COUNT) * MS};
  }
  const engram_metrics before = metrics_of(arena);
  OK(engram_alloc_batch(arena, requests, COUNT, ENGRAM_BATCH_ORDERED | ENGRAM_BATCH_ATOMIC, out, &served));
  EQUAL(served, COUNT);
  for (size_t i = 0; i < COUNT; i++) {
    CHECK(out[i] != NULL);
    stamp(out[i], 40, i);
    for (size_t k = 0; k < i; k++) {
      if (requests[i].column == requests[k].column) {
        CHECK((requests[i].ttfs_ns < requests[k].ttfs_ns) == (out[i] < out[k]));
      }
    }
  }
  for (size_t i = 0; i < COUNT; i++) {
    CHECK(is_stamped(out[i], 40, i));
  }
  OK(engram_free_batch(arena, out, COUNT));
  EQUAL(metrics_of(arena).bytes_live, before.bytes_live);
  EQUAL(metrics_of(arena).frees, before.frees + COUNT);

  /* The first refusal in the order of serving: the last request here, with the earliest spike. */
  requests[COUNT - 1] = (engram_request){.size = 0, .align = 0, .column = 0, .ttfs_ns = 0};
  requests[0] = (engram_request){.size = 40, .align = 0, .column = 4000, .ttfs_ns = 1};
  EQUAL(engram_alloc_batch(arena, requests, COUNT, 0, out, &served), ENGRAM_E_INVALID);
  CHECK(strstr(last_message(), "size 0") != NULL);
  EQUAL(served, COUNT - 2);
  CHECK(out[0] == NULL && out[COUNT - 1] == NULL);
  EQUAL(metrics_of(arena).failed, before.failed + 2);
  OK(engram_free_batch(arena, out, COUNT)); /* NULL entries are fine */
  EQUAL(engram_alloc_batch(arena, requests, COUNT, ENGRAM_BATCH_ATOMIC, out, &served), ENGRAM_E_INVALID);
  EQUAL(served, 0);
  for (size_t i = 0; i < COUNT; i++) {
    CHECK(out[i] == NULL);
  }
  OK(engram_alloc_batch(arena, requests, 0, ENGRAM_BATCH_ATOMIC, out, NULL));
  OK(engram_free_batch(arena, out, 0));
  EQUAL(metrics_of(arena).bytes_live, before.bytes_live);
  OK(engram_arena_verify(arena));
}

static void limits(engram_arena *arena) {
  OK(engram_column_limit(arena, 9, 64 << 10));
  void *const first = engram_alloc(arena, 9, 20000, 0, 0);
  void *second = NULL;
  CHECK(first != NULL);
  OK(engram_free(arena, first));
  CHECK(engram_alloc(arena, 9, 300000, 0, 0) == NULL);
  EQUAL(engram_last_error(), ENGRAM_E_QUOTA);
  CHECK(strstr(last_message(), "column 9 may have 65536 bytes") != NULL);
  OK(engram_column_limit(arena, 9, SIZE_MAX));
  second = engram_alloc(arena, 9, 300000, 0, 0);
  CHECK(second != NULL);
  OK(engram_free(arena, second));
  OK(engram_column_limit(arena, 9, 0));
  EQUAL(engram_last_error(), ENGRAM_E_QUOTA); /* a success does not clear it */
  OK(engram_column_limit(arena, 9, SIZE_MAX));
}

static void scarcity_and_maintenance(void) {
  engram_arena *const arena = open_arena(4u << 20, 2, 0);
  CHECK(arena != NULL);
  void *blocks[4096];
  size_t count = 0;
  while (count < 4096 && (blocks[count] = engram_alloc(arena, 0, 4000, 0, 0)) != NULL) {
    count++;
  }
  EQUAL(engram_last_error(), ENGRAM_E_NO_MEMORY);
  EQUAL(count, (4u << 20) / 4096);
  EQUAL(metrics_of(arena).bytes_live, 4u << 20);
  EQUAL(metrics_of(arena).bytes_peak, 4u << 20);
  EQUAL(metrics_of(arena).failed, 1);
  OK(engram_free_batch(arena, blocks, count));
  engram_status status = ENGRAM_MORE;
  for (size_t turns = 0; status == ENGRAM_MORE; turns++) {
    CHECK(turns < 10000);
    status = engram_maintain(arena, 0);
  }
  OK(status);
  OK(engram_maintain(arena, 1000 * MS));
  EQUAL(metrics_of(arena).bytes_committed, 0);
  void *const whole = engram_alloc(arena, 1, 4u << 20, 0, 0);
  CHECK(whole != NULL);
  EQUAL(engram_usable_size(arena, whole), 4u << 20);
  OK(engram_arena_verify(arena));
  OK(engram_arena_close(arena));
}

static void flags(void) {
  /* Every block of a ZERO_FREED arena is zero, whatever was in it before. */
  engram_arena *arena = open_arena(4u << 20, 2, ENGRAM_ARENA_ZERO_FREED);
  engram_column *column;
  CHECK(arena != NULL);
  OK(engram_column_acquire(arena, 0, &column));
  const size_t sizes[] = {16, 100, 4000, 40000, 500000};
  for (size_t round = 0; round < 40; round++) {
    const size_t size = sizes[round % 5];
    void *const held = engram_column_alloc(column, size, 0, 0);
    void *const unheld = engram_alloc(arena, 1, size, 0, 0);
    CHECK(is_zero(held, engram_usable_size(arena, held)) && is_zero(unheld, engram_usable_size(arena, unheld)));
    memset(held, 0xff, engram_usable_size(arena, held));
    memset(unheld, 0xff, engram_usable_size(arena, unheld));
    OK(round % 2 ? engram_column_free(column, held) : engram_free(arena, held));
    OK(round % 2 ? engram_column_free(column, unheld) : engram_free(arena, unheld));
  }
  OK(engram_column_release(column));
  OK(engram_arena_close(arena));

  /* With zones, early and late spikes lie in different spans; without, side by side. */
  for (int zones = 0; zones < 2; zones++) {
    arena = open_arena(4u << 20, 1, zones ? 0 : ENGRAM_ARENA_NO_ZONES);
    const char *const early = engram_alloc(arena, 0, 64, 0, 1 * MS);
    const char *const late = engram_alloc(arena, 0, 64, 0, 90 * MS);
    CHECK(early != NULL && late != NULL);
    const size_t apart = (size_t)llabs((long long)(early - late));
    CHECK(zones ? apart >= 4096 : apart == 64);
    OK(engram_arena_close(arena));
  }

  const uint32_t others[] = {ENGRAM_ARENA_PREFAULT, ENGRAM_ARENA_HUGE_PAGES, ENGRAM_ARENA_LOCK,
                             ENGRAM_ARENA_CREATE_NEW | ENGRAM_ARENA_SPARSE, ENGRAM_ARENA_PREFAULT | ENGRAM_ARENA_HUGE_PAGES};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    arena = open_arena(2u << 20, 1, others[i]);
    if (arena == NULL) { /* mlock may be beyond what this user is allowed */
      EQUAL(others[i], ENGRAM_ARENA_LOCK);
      EQUAL(engram_last_error(), ENGRAM_E_OS);
      CHECK(strstr(last_message(), "lock") != NULL);
      continue;
    }
    void *const block = engram_alloc(arena, 0, 1000, 0, 0);
    CHECK(block != NULL);
    OK(engram_free(arena, block));
    OK(engram_arena_close(arena));
  }
}

static void the_system_refuses(void) {
  fflush(NULL);
  const pid_t child = fork();
  if (child == 0) {
    const struct rlimit limit = {64u << 20, 64u << 20};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK(open_arena((size_t)1 << 30, 4, 0) == NULL);
    EQUAL(engram_last_error(), ENGRAM_E_OS);
    CHECK(strstr(last_message(), "the system refused to map") != NULL);
    _exit(0);
  }
  int how;
  CHECK(waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

static void addresses(engram_arena *arena) {
  char *const start = engram_arena_at(arena, 0);
  const size_t capacity = metrics_of(arena).bytes_capacity;
  CHECK(start != NULL);
  EQUAL(engram_arena_offset(arena, start), 0);
  EQUAL(engram_arena_offset(arena, start + capacity - 1), capacity - 1);
  CHECK(engram_arena_at(arena, capacity - 1) == start + capacity - 1);
  CHECK(engram_arena_at(arena, capacity) == NULL && engram_arena_at(arena, SIZE_MAX) == NULL);
  EQUAL(engram_arena_offset(arena, start + capacity), SIZE_MAX);
  EQUAL(engram_arena_offset(arena, start - 1), SIZE_MAX);
  EQUAL(engram_arena_offset(arena, &capacity), SIZE_MAX);
  EQUAL(engram_arena_offset(arena, NULL), SIZE_MAX);
  CHECK(!engram_arena_contains(arena, start - 1) && !engram_arena_contains(arena, start + capacity));
  CHECK(!engram_arena_contains(arena, NULL) && !engram_arena_contains(arena, &capacity));
}

static void print(const char *what, size_t (*write)(const engram_arena *, char *, size_t), const engram_arena *arena) {
  const size_t length = write(arena, NULL, 0);
  char *const text = malloc(length + 1);
  EQUAL(write(arena, text, length + 1), length);
  EQUAL(strlen(text), length);
  printf("%s:\n%s\n", what, text);
  free(text);
}

static void texts(engram_arena *arena) {
  print("json", engram_metrics_json, arena);
  print("openmetrics", engram_metrics_openmetrics, arena);
  engram_metrics metrics = metrics_of(arena);
  EQUAL(metrics.struct_size, sizeof metrics);
  printf("struct: %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", metrics.allocs, metrics.frees, metrics.bytes_peak);
}

int main(void) {
  nothing_has_failed_yet();
  versions_and_names();
  the_defaults();
  engram_arena *const arena = open_arena(32u << 20, 16, 0);
  CHECK(arena != NULL);
  addresses(arena);
  allocation_without_a_column(arena);
  reallocation(arena);
  a_held_column(arena);
  batches(arena);
  limits(arena);
  scarcity_and_maintenance();
  flags();
  the_system_refuses();
  texts(arena);
  OK(engram_arena_verify(arena));
  OK(engram_arena_close(arena));
  return 0;
}
