/* Every kind of call in a thread that has as much stack as the header says that it needs: what takes more meets a page without
 * access. Takes the bytes for the core's calls, those for the service's, the requests of the batches, and a folder; says of each kind
 * how much it took, the thread's own part included. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GUARD = 64 << 10, PAINT = 0xa5, COLUMNS = 4, CONCEPTS = 2000, MS = 1000 * 1000, BYTES = 256 };
#define SECOND (1000ull * MS)

static size_t requests;
static char path[512], copy[512], missing[512], text[1 << 16];
static engram_arena *arena;
static engram_column *column;
static engram_service *service;
static engram_request *wanted;
static void **blocks;

static size_t capacity(void) { return (64u << 20) + requests * 128; }

static engram_arena_config arena_config(const char *file) {
  engram_arena_config config;
  OK(engram_arena_config_init(&config, sizeof config));
  config.capacity = capacity();
  config.columns = COLUMNS;
  config.path = file;
  return config;
}

static void open_anonymous(void) {
  const engram_arena_config config = arena_config(NULL);
  OK(engram_arena_open(&config, &arena));
}

static void open_file(void) {
  const engram_arena_config config = arena_config(path);
  OK(engram_arena_open(&config, &arena));
}

static void close_arena(void) { OK(engram_arena_close(arena)); }

static void open_larger(void) {
  engram_arena_config config = arena_config(path);
  config.capacity *= 2;
  OK(engram_arena_open(&config, &arena));
}

static void open_what_is_not_there(void) {
  const engram_arena_config config = arena_config(missing);
  engram_arena *none;
  EQUAL(engram_arena_open(&config, &none), ENGRAM_E_OS);
  CHECK(engram_last_error_message(text, sizeof text) > 0);
}

static void open_what_is_open(void) {
  const engram_arena_config config = arena_config(path);
  engram_arena *none;
  EQUAL(engram_arena_open(&config, &none), ENGRAM_E_BUSY);
  CHECK(engram_last_error_message(text, sizeof text) > 0);
}

static const size_t SIZES[] = {1, 100, 4096, 5000, 36 << 10, 300 << 10, 2 << 20, 5 << 20};
enum { KINDS = sizeof SIZES / sizeof *SIZES };

static void allocations(void) {
  for (size_t i = 0; i < KINDS; i++) {
    for (size_t align = 16; align <= 4096; align *= 16) {
      void *p = engram_alloc(arena, i % 2 ? ENGRAM_COLUMN_ANY : 1, SIZES[i], align, (uint32_t)i * MS);
      void *q = engram_alloc_zeroed(arena, ENGRAM_COLUMN_ANY, SIZES[i], align, ENGRAM_TTFS_NONE);
      CHECK(p != NULL && q != NULL && engram_usable_size(arena, p) >= SIZES[i]);
      p = engram_realloc(arena, p, SIZES[KINDS - 1 - i], ENGRAM_TTFS_NONE);
      CHECK(p != NULL);
      OK(engram_free(arena, p));
      EQUAL(engram_free(arena, (char *)q + 1), ENGRAM_E_BAD_POINTER);
      OK(engram_free(arena, q));
      CHECK(engram_last_error_message(text, sizeof text) > 0);
    }
  }
}

static int keep_on(void *user, void *block, size_t usable) {
  (void)block;
  *(size_t *)user += usable;
  return 0;
}

static void a_held_column(void) {
  OK(engram_column_acquire(arena, 2, &column));
  static void *many[1000];
  for (size_t i = 0; i < KINDS; i++) {
    void *p = engram_column_alloc(column, SIZES[i], 64, (uint32_t)i * MS);
    CHECK(p != NULL);
    p = engram_column_realloc(column, p, SIZES[KINDS - 1 - i], ENGRAM_TTFS_NONE);
    CHECK(p != NULL && engram_alloc(arena, 2, 100, 0, ENGRAM_TTFS_NONE) != NULL);
    OK(engram_column_free(column, p));
    const size_t given = engram_column_alloc_batch(column, SIZES[i] % 4096 + 1, 0, ENGRAM_TTFS_NONE, 1000, many);
    EQUAL(engram_free_batch(arena, many, given), ENGRAM_OK);
  }
  static size_t usable;
  OK(engram_column_walk(column, keep_on, &usable));
  OK(engram_column_reset(column));
  OK(engram_column_release(column));
}

static void exhaustion(void) {
  void *last = NULL;
  for (void *p; (p = engram_alloc(arena, ENGRAM_COLUMN_ANY, 30000, 0, ENGRAM_TTFS_NONE)) != NULL; last = p) {
    *(void **)p = last;
  }
  EQUAL(engram_last_error(), ENGRAM_E_NO_MEMORY);
  CHECK(engram_alloc(arena, 1, 3 << 20, 0, ENGRAM_TTFS_NONE) == NULL && engram_alloc(arena, 1, 9000, 0, ENGRAM_TTFS_NONE) == NULL);
  while (last != NULL) {
    void *const before = *(void **)last;
    OK(engram_free(arena, last));
    last = before;
  }
}

static void batch(uint32_t flags, bool alike) {
  uint64_t random = 88172645463325252ull;
  for (size_t i = 0; i < requests; i++) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    wanted[i].size = alike ? 16 : 1 + random % 60;
    wanted[i].align = alike ? 0 : random >> 8 & 16;
    wanted[i].column = alike ? 1 : random >> 16 & 1 ? ENGRAM_COLUMN_ANY : (uint32_t)(random >> 17) % COLUMNS;
    wanted[i].ttfs_ns = (uint32_t)(random >> 32);
  }
  size_t served;
  OK(engram_alloc_batch(arena, wanted, requests, flags, blocks, &served));
  EQUAL(served, requests);
  OK(engram_free_batch(arena, blocks, served));
}

static void batches(void) { batch(0, false), batch(0, true); }

static void ordered_batches(void) { batch(ENGRAM_BATCH_ORDERED, false), batch(ENGRAM_BATCH_ORDERED, true); }

static void refused_batches(void) {
  const size_t count = capacity() / (2 << 20) + 8;
  for (uint32_t flags = 0; flags < 4; flags++) {
    for (size_t i = 0; i < count; i++) {
      wanted[i] = (engram_request){2 << 20, 0, ENGRAM_COLUMN_ANY, (uint32_t)(i % 7) * MS};
    }
    size_t served;
    EQUAL(engram_alloc_batch(arena, wanted, count, flags, blocks, &served), ENGRAM_E_NO_MEMORY);
    OK(engram_free_batch(arena, blocks, count));
  }
}

static void publications(void) {
  uint64_t *const where = engram_alloc_zeroed(arena, 0, 16, 0, ENGRAM_TTFS_NONE);
  CHECK(where != NULL && engram_alloc_publish(arena, 0, 100, 0, ENGRAM_TTFS_NONE, where) != NULL);
  OK(engram_free_unpublish(arena, where));
  OK(engram_set_root(arena, 3, engram_arena_offset(arena, where)));
  CHECK(engram_arena_at(arena, engram_root(arena, 3)) == where && engram_arena_contains(arena, where));
}

static void looking(void) {
  engram_metrics metrics;
  OK(engram_metrics_get(arena, &metrics, sizeof metrics));
  CHECK(engram_metrics_json(arena, text, sizeof text) > 0 && engram_metrics_openmetrics(arena, text, sizeof text) > 0);
  OK(engram_column_limit(arena, 3, 1 << 20));
  OK(engram_column_limit(arena, 3, SIZE_MAX));
}

static void verify(void) { OK(engram_arena_verify(arena)); }

static void maintain(void) { OK(engram_maintain(arena, 10 * SECOND)); }

static void sync_file(void) { OK(engram_arena_sync(arena)); }

static void snapshot(void) { OK(engram_arena_snapshot(arena, copy)); }

static engram_service_config service_config(const char *file) {
  engram_service_config config;
  OK(engram_service_config_init(&config, sizeof config));
  config.capacity = 32 << 20;
  config.columns = COLUMNS;
  config.path = file;
  return config;
}

static void open_service(void) {
  const engram_service_config config = service_config(NULL);
  OK(engram_service_open(&config, &service));
}

static void open_service_file(void) {
  const engram_service_config config = service_config(path);
  OK(engram_service_open(&config, &service));
}

static void close_service(void) { OK(engram_service_close(service)); }

static char ids[CONCEPTS][16], content[BYTES], large[1 << 20];
static float embedding[384];
static const char *hints[2];
static size_t hint_lengths[2];

static engram_concept concept_of(size_t number) {
  snprintf(ids[number], sizeof *ids, "c%zu", number);
  engram_concept concept;
  memset(&concept, 0, sizeof concept);
  concept.id = ids[number];
  concept.id_length = strlen(ids[number]);
  concept.type = "entity";
  concept.type_length = 6;
  concept.content = number % 100 ? content : large;
  concept.content_length = number % 100 ? 1 + number * 7 % BYTES : number * 50;
  concept.priority = (uint32_t)number % 4;
  if (number % 3 == 0) {
    concept.embedding = embedding;
    concept.embedding_length = 384;
    embedding[number % 384] += 1;
  }
  if (number > 2) {
    for (size_t i = 0; i < 2; i++) {
      hints[i] = ids[number - 1 - i];
      hint_lengths[i] = strlen(hints[i]);
    }
    concept.hints = hints;
    concept.hint_lengths = hint_lengths;
    concept.hint_count = 2;
  }
  return concept;
}

static void concepts(void) {
  static engram_placement placement;
  for (size_t i = 0; i < CONCEPTS / 2; i++) {
    const engram_concept concept = concept_of(i);
    OK(engram_service_allocate(service, &concept, &placement));
  }
  const engram_concept again = concept_of(7);
  EQUAL(engram_service_allocate(service, &again, &placement), ENGRAM_E_EXISTS);
  CHECK(engram_last_error_message(text, sizeof text) > 0);
}

static void batches_of_concepts(void) {
  static engram_concept all[CONCEPTS / 2];
  static engram_placement placements[CONCEPTS / 2];
  for (size_t i = 0; i < CONCEPTS / 2; i++) {
    all[i] = concept_of(CONCEPTS / 2 + i);
    all[i].hint_count = 0;
  }
  OK(engram_service_allocate_batch(service, all, CONCEPTS / 4, ENGRAM_BATCH_ATOMIC, placements));
  OK(engram_service_allocate_batch(service, all + CONCEPTS / 4, CONCEPTS / 4, 0, placements));
  EQUAL(engram_service_allocate_batch(service, all, 9, ENGRAM_BATCH_ATOMIC, placements), ENGRAM_E_EXISTS);
}

static void updates_links_and_pins(void) {
  static engram_placement placement;
  for (size_t i = 0; i < CONCEPTS; i++) {
    const void *bytes;
    size_t length;
    engram_pin *pin;
    OK(engram_service_pin(service, ids[i], strlen(ids[i]), &bytes, &length, &pin));
    OK(engram_service_update(service, ids[i], strlen(ids[i]), content, (i * 31 + 1) % BYTES, &placement));
    OK(engram_service_unpin(pin));
    OK(engram_service_link(service, ids[i], strlen(ids[i]), ids[i / 2], strlen(ids[i / 2])));
  }
}

static void concepts_until_it_is_full(void) {
  static char id[32];
  for (size_t i = 0;; i++) {
    engram_concept concept = concept_of(0);
    snprintf(id, sizeof id, "f%zu", i);
    concept.id = id;
    concept.id_length = strlen(id);
    concept.content = large;
    concept.content_length = i % 3 ? 200 : 30000;
    const engram_status status = engram_service_allocate(service, &concept, NULL);
    if (status != ENGRAM_OK) {
      CHECK(status == ENGRAM_E_NO_MEMORY || status == ENGRAM_E_QUOTA);
      return;
    }
  }
}

static void deallocations(void) {
  uint64_t freed;
  for (size_t i = 0; i < CONCEPTS; i += 2) {
    OK(engram_service_deallocate(service, ids[i], strlen(ids[i]), &freed));
  }
}

static void maintain_service(void) {
  for (engram_status status = ENGRAM_MORE; status == ENGRAM_MORE;) {
    status = engram_service_maintain(service, SECOND / 10);
    CHECK(status >= 0);
  }
}

static void look_at_service(void) {
  uint32_t spike;
  OK(engram_first_spike(0.5, &spike));
  EQUAL(engram_first_spike(-1, &spike), ENGRAM_E_INVALID);
  CHECK(engram_service_metrics_json(service, text, sizeof text) < sizeof text);
}

static void nothing(void) {}

struct step {
  const char *name;
  void (*run)(void);
};

static void *run_step(void *of) {
  ((const struct step *)of)->run();
  return NULL;
}

/* Runs a step with so much stack; says how much of it was written to. */
static void run(const struct step *step, size_t bytes) {
  char *const memory = mmap(NULL, GUARD + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED && mprotect(memory, GUARD, PROT_NONE) == 0);
  memset(memory + GUARD, PAINT, bytes);
  printf("%-28s", step->name);
  fflush(stdout);
  pthread_t thread;
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstack(&attributes, memory + GUARD, bytes) == 0);
  CHECK(pthread_create(&thread, &attributes, run_step, (void *)(uintptr_t)step) == 0 && pthread_join(thread, NULL) == 0);
  size_t untouched = 0;
  while (untouched < bytes && (unsigned char)memory[GUARD + untouched] == PAINT) {
    untouched++;
  }
  printf(" %6zu of %zu\n", bytes - untouched, bytes);
  CHECK(pthread_attr_destroy(&attributes) == 0 && munmap(memory, GUARD + bytes) == 0);
}

#define STEP(name) {#name, name}

static const struct step CORE[] = {
    STEP(nothing),        STEP(open_anonymous),  STEP(allocations),       STEP(a_held_column), STEP(batches),
    STEP(ordered_batches), STEP(refused_batches), STEP(exhaustion),       STEP(publications),  STEP(looking),
    STEP(verify),         STEP(maintain),        STEP(snapshot),          STEP(close_arena),   STEP(open_what_is_not_there),
    STEP(open_file),      STEP(open_what_is_open), STEP(allocations),     STEP(ordered_batches), STEP(publications),
    STEP(verify),         STEP(sync_file),       STEP(snapshot),          STEP(close_arena),   STEP(open_larger),
    STEP(maintain),       STEP(snapshot),        STEP(close_arena),
};

static const struct step SERVICE[] = {
    STEP(nothing),
    STEP(open_service),
    STEP(concepts),
    STEP(batches_of_concepts),
    STEP(updates_links_and_pins),
    STEP(maintain_service),
    STEP(deallocations),
    STEP(maintain_service),
    STEP(look_at_service),
    STEP(concepts_until_it_is_full),
    STEP(maintain_service),
    STEP(close_service),
    STEP(open_service_file),
    STEP(concepts),
    STEP(batches_of_concepts),
    STEP(updates_links_and_pins),
    STEP(maintain_service),
    STEP(deallocations),
    STEP(look_at_service),
    STEP(close_service),
    STEP(open_service_file),
    STEP(maintain_service),
    STEP(close_service),
};

int main(int count, char **arguments) {
  CHECK(count == 5);
  const size_t core = strtoul(arguments[1], NULL, 10), of_service = strtoul(arguments[2], NULL, 10);
  requests = strtoul(arguments[3], NULL, 10);
  snprintf(path, sizeof path, "%s/stack.engram", arguments[4]);
  snprintf(copy, sizeof copy, "%s/stack-copy.engram", arguments[4]);
  snprintf(missing, sizeof missing, "%s/no-such-folder/file", arguments[4]);
  unlink(path);
  wanted = calloc(requests, sizeof *wanted);
  blocks = calloc(requests, sizeof *blocks);
  CHECK(wanted != NULL && blocks != NULL);
  for (size_t i = 0; i < sizeof CORE / sizeof *CORE; i++) {
    run(&CORE[i], core);
  }
  unlink(path);
  for (size_t i = 0; i < sizeof SERVICE / sizeof *SERVICE; i++) {
    run(&SERVICE[i], of_service);
  }
  unlink(path);
  unlink(copy);
  free(wanted);
  free(blocks);
  return 0;
}
