/* Region files, given memory and publication, from C. The folder to work in is the current one. */
#define _GNU_SOURCE
#include "check.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static const char *const FILE_NAME = "region-test.engram";
static const char *const COPY_NAME = "region-test.copy";

static engram_arena_config config_of(size_t capacity) {
  engram_arena_config config;
  OK(engram_arena_config_init(&config, sizeof config));
  config.path = FILE_NAME;
  config.capacity = capacity;
  config.columns = 4;
  return config;
}

static engram_arena *opened(const engram_arena_config *config, engram_status expected) {
  engram_arena *arena = NULL;
  EQUAL(engram_arena_open(config, &arena), expected);
  CHECK((arena != NULL) == (expected >= 0));
  return arena;
}

static void files_are_created_reopened_grown_and_locked(void) {
  unlink(FILE_NAME);
  engram_arena_config config = config_of(4 * MIB);
  config.flags = ENGRAM_ARENA_CREATE_NEW;
  engram_arena *arena = opened(&config, ENGRAM_OK);
  char *const block = engram_alloc(arena, 1, 100, 64, 2000000);
  CHECK(block != NULL);
  memset(block, 42, 100);
  const size_t offset = engram_arena_offset(arena, block);
  OK(engram_set_root(arena, 3, offset));
  engram_arena_config second = config_of(4 * MIB);
  opened(&second, ENGRAM_E_BUSY);
  CHECK(strstr(last_message(), FILE_NAME) != NULL);
  OK(engram_arena_sync(arena));
  OK(engram_arena_close(arena));

  opened(&config, ENGRAM_E_EXISTS);
  config.flags = 0;
  config.columns = 5;
  opened(&config, ENGRAM_E_INVALID);
  config.columns = 4;
  config.capacity = 8 * MIB;
  arena = opened(&config, ENGRAM_OK);
  EQUAL(metrics_of(arena).bytes_capacity, 8 * MIB);
  EQUAL(engram_root(arena, 3), offset);
  const char *const again = engram_arena_at(arena, offset);
  CHECK(again != NULL && again[0] == 42 && again[99] == 42 && (uintptr_t)again % 64 == 0);
  EQUAL(metrics_of(arena).allocs - metrics_of(arena).frees, 1);
  OK(engram_arena_verify(arena));
  OK(engram_arena_close(arena));
  config.capacity = 4 * MIB;
  opened(&config, ENGRAM_E_INVALID);
  CHECK(strstr(last_message(), "8388608") != NULL && strstr(last_message(), "4194304") != NULL);
}

#ifdef __linux__ /* not every system has a call for it */
/* Disk space is reserved when a file is made and when it grows, unless the program does not want that. */
static void space_is_reserved_or_not(void) {
  for (int sparse = 0; sparse < 2; sparse++) {
    unlink(FILE_NAME);
    for (size_t capacity = 4 * MIB; capacity <= 8 * MIB; capacity *= 2) {
      engram_arena_config config = config_of(capacity);
      config.flags = sparse ? ENGRAM_ARENA_SPARSE : 0;
      engram_arena *arena = opened(&config, ENGRAM_OK);
      struct stat about;
      CHECK(stat(FILE_NAME, &about) == 0);
      const size_t reserved = (size_t)about.st_blocks * 512;
      CHECK(sparse ? reserved < capacity : reserved >= capacity);
      OK(engram_arena_close(arena));
    }
  }
}
#endif

static void what_a_dead_process_had_is_there(void) {
  unlink(FILE_NAME);
  const engram_arena_config config = config_of(4 * MIB);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    engram_arena *const arena = opened(&config, ENGRAM_OK);
    engram_column *column;
    OK(engram_column_acquire(arena, 2, &column));
    for (uint32_t i = 0; i < 1000; i++) {
      uint32_t *const kept = engram_column_alloc(column, 48, 0, i);
      void *const freed = engram_column_alloc(column, 200, 0, i);
      CHECK(kept != NULL && freed != NULL);
      *kept = i;
      OK(engram_column_free(column, freed));
    }
    _exit(0); /* neither released nor closed */
  }
  int how;
  CHECK(waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 0);
  engram_arena *const arena = opened(&config, ENGRAM_RECOVERED);
  EQUAL(metrics_of(arena).allocs - metrics_of(arena).frees, 1000);
  EQUAL(metrics_of(arena).bytes_live, 48000);
  OK(engram_arena_verify(arena));
  engram_column *column;
  OK(engram_column_acquire(arena, 2, &column));
  EQUAL(engram_arena_close(arena), ENGRAM_E_BUSY);
  EQUAL(engram_arena_snapshot(arena, COPY_NAME), ENGRAM_E_BUSY);
  OK(engram_column_reset(column));
  OK(engram_column_release(column));
  EQUAL(metrics_of(arena).bytes_live, 0);
  OK(engram_arena_close(arena));
  OK(engram_arena_close(opened(&config, ENGRAM_OK)));
}

static void published_blocks_are_named_or_not_there(void) {
  unlink(FILE_NAME);
  const engram_arena_config config = config_of(32 * MIB);
  engram_arena *arena = opened(&config, ENGRAM_OK);
  uint64_t *const table = engram_alloc_zeroed(arena, 0, 8 * 100, 0, 0);
  CHECK(table != NULL);
  OK(engram_set_root(arena, 0, engram_arena_offset(arena, table) + 1));
  const size_t sizes[] = {1, 16, 100, 1000, 5000, 40000, 300000, 3 * MIB};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char *const block = engram_alloc_publish(arena, (uint32_t)(i % 4), sizes[i], 0, ENGRAM_TTFS_NONE, &table[i]);
    CHECK(block != NULL && table[i] != 0);
    CHECK(engram_arena_at(arena, table[i]) == block && engram_usable_size(arena, block) >= sizes[i]);
  }
  OK(engram_arena_verify(arena));
  uint64_t elsewhere = 0;
  CHECK(engram_alloc_publish(arena, 0, 16, 0, 0, &elsewhere) == NULL && elsewhere == 0);
  EQUAL(engram_last_error(), ENGRAM_E_INVALID);
  CHECK(engram_alloc_publish(arena, 0, 16, 0, 0, (uint64_t *)(void *)((char *)table + 4)) == NULL);
  EQUAL(engram_last_error(), ENGRAM_E_INVALID);
  CHECK(engram_alloc_publish(arena, 9, 16, 0, 0, &table[50]) == NULL && table[50] == 0);
  EQUAL(engram_free_unpublish(arena, &table[50]), ENGRAM_E_BAD_POINTER);
  CHECK(strstr(last_message(), "is 0: it names no block") != NULL);
  table[51] = engram_arena_offset(arena, engram_alloc(arena, 0, 16, 0, 0));
  EQUAL(engram_free_unpublish(arena, &table[51]), ENGRAM_E_BAD_POINTER); /* it was not published */
  OK(engram_free(arena, engram_arena_at(arena, table[51])));
  OK(engram_arena_snapshot(arena, COPY_NAME));
  EQUAL(engram_arena_snapshot(arena, ""), ENGRAM_E_INVALID);
  CHECK(strstr(last_message(), "path is empty; it must name a file") != NULL && strstr(last_message(), "NULL") == NULL);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    const uint64_t name = table[i];
    OK(engram_free_unpublish(arena, &table[i]));
    EQUAL(table[i], 0);
    table[i] = name;
    CHECK(engram_free_unpublish(arena, &table[i]) < 0);
    table[i] = 0;
  }
  EQUAL(metrics_of(arena).allocs - metrics_of(arena).frees, 1);
  OK(engram_arena_verify(arena));
  OK(engram_arena_close(arena));

  /* The copy is of the moment before. */
  engram_arena_config copy = config;
  copy.path = COPY_NAME;
  arena = opened(&copy, ENGRAM_OK);
  EQUAL(metrics_of(arena).allocs - metrics_of(arena).frees, 1 + sizeof sizes / sizeof *sizes);
  OK(engram_arena_verify(arena));
  OK(engram_arena_close(arena));
  unlink(COPY_NAME);
}

static void given_memory_is_all_that_is_used(void) {
  engram_arena_config config = config_of(4 * MIB);
  config.path = NULL;
  const size_t size = engram_arena_size(&config);
  CHECK(size > 4 * MIB && size <= 4 * MIB + 4 * MIB / 10);
  char *const memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  config.memory = memory;
  config.memory_size = size - 1;
  opened(&config, ENGRAM_E_INVALID);
  config.memory_size = size;
  engram_arena *arena = opened(&config, ENGRAM_OK);
  uint64_t *const block = engram_alloc(arena, 0, 64, 0, 0);
  CHECK((char *)block > memory && (char *)block < memory + size);
  *block = 7;
  const size_t offset = engram_arena_offset(arena, block);
  OK(engram_arena_close(arena));
  /* It may lie elsewhere. */
  char *const moved = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(moved != MAP_FAILED);
  memcpy(moved, memory, size);
  munmap(memory, size);
  config.memory = moved;
  arena = opened(&config, ENGRAM_OK);
  EQUAL(*(uint64_t *)engram_arena_at(arena, offset), 7);
  OK(engram_free(arena, engram_arena_at(arena, offset)));
  OK(engram_arena_verify(arena));
  OK(engram_arena_close(arena));
  munmap(moved, size);
}

/* Bytes that this process has locked into memory. */
static size_t locked(void) {
  char line[200];
  unsigned long kibibytes = 0;
  FILE *const status = fopen("/proc/self/status", "r");
  CHECK(status != NULL);
  while (fgets(line, sizeof line, status) != NULL && sscanf(line, "VmLck: %lu kB", &kibibytes) != 1) {
  }
  fclose(status);
  return kibibytes << 10;
}

/* Given memory that is to be locked is so while the arena is open, as much as it takes, and not if it is refused. */
static void given_memory_is_locked_as_long_as_the_arena_is_open(void) {
  engram_arena_config config = config_of(2 * MIB);
  config.path = NULL;
  /* How far user memory is from the start depends on where that lies. */
  const size_t size = engram_arena_size(&config), handles = 4096, least = size + handles - (32 << 10);
  char *const memory = mmap(NULL, size + 6 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  config.memory = memory;
  config.memory_size = size + 6 * MIB;
  config.flags = ENGRAM_ARENA_LOCK;
  engram_arena *arena = NULL;
  EQUAL(locked(), 0);
  if (engram_arena_open(&config, &arena) == ENGRAM_E_OS) {
    puts("the system does not let so much memory be locked");
    EQUAL(locked(), 0);
    return;
  }
  /* To its end, which is at most 2 MiB later if user memory is aligned. */
  CHECK(locked() >= least && locked() <= size + 2 * MIB + handles);
  /* A child has locks of its own, or none. */
  fflush(NULL);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    EQUAL(locked(), 0);
    CHECK(mlock(memory, MIB) == 0);
    OK(engram_arena_close(arena));
    EQUAL(locked(), MIB);
    _exit(0);
  }
  int how;
  CHECK(waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 0);
  CHECK(locked() >= least);
  CHECK(engram_alloc(arena, 0, 100, 32 << 10, 0) != NULL);
  OK(engram_arena_close(arena));
  EQUAL(locked(), 0);

  /* Grown: to where it ends then. */
  config.capacity = 4 * MIB;
  arena = opened(&config, ENGRAM_OK);
  CHECK(locked() >= least + 2 * MIB && locked() <= size + 5 * MIB + handles);
  char *const metadata = (char *)engram_arena_at(arena, 0) + 4 * MIB + 4096;
  OK(engram_arena_close(arena));
  EQUAL(locked(), 0);

  /* Where it is not aligned as its blocks need it; damaged; and where the system lets only less be locked. */
  memmove(memory + 4096, memory, size + 5 * MIB);
  config.memory = memory + 4096;
  config.memory_size = size + 5 * MIB;
  opened(&config, ENGRAM_E_INVALID);
  EQUAL(locked(), 0);
  memmove(memory, memory + 4096, size + 5 * MIB);
  config.memory = memory;
  memset(metadata, 0xff, 64 << 10);
  opened(&config, ENGRAM_E_FORMAT);
  EQUAL(locked(), 0);
  memset(memory, 0, size + 6 * MIB);
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
  const pid_t another = fork();
  CHECK(another >= 0);
  if (another == 0) {
    /* The arena's memory may be locked, its handles no more. */
    config.capacity = 2 * MIB;
    arena = opened(&config, ENGRAM_OK);
    limit.rlim_cur = locked() - handles;
    OK(engram_arena_close(arena));
    CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    CHECK(getuid() != 0 || setresuid(65534, 65534, 65534) == 0);
    opened(&config, ENGRAM_E_OS);
    EQUAL(locked(), 0);
    _exit(0);
  }
  CHECK(waitpid(another, &how, 0) == another && WIFEXITED(how) && WEXITSTATUS(how) == 0);
  munmap(memory, size + 6 * MIB);
}

static void a_service_is_reopened(void) {
  unlink(FILE_NAME);
  engram_service_config config;
  OK(engram_service_config_init(&config, sizeof config));
  const engram_pool_config pool = {.type = "entity", .type_length = 6, .quota_bytes = MIB};
  config.path = FILE_NAME;
  config.capacity = 8 * MIB;
  config.columns = 4;
  config.pools = &pool;
  config.pool_count = 1;
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    engram_service *service;
    OK(engram_service_open(&config, &service));
    for (int i = 0; i < 100; i++) {
      char id[16];
      const int length = snprintf(id, sizeof id, "concept %d", i);
      const engram_concept concept = {
          .id = id, .id_length = (size_t)length, .type = "entity", .type_length = 6, .content = id, .content_length = (size_t)length};
      OK(engram_service_allocate(service, &concept, NULL));
    }
    OK(engram_service_update(service, "concept 5", 9, "new", 3, NULL));
    OK(engram_service_deallocate(service, "concept 6", 9, NULL));
    _exit(0);
  }
  int how;
  CHECK(waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 0);
  engram_service *service;
  EQUAL(engram_service_open(&config, &service), ENGRAM_RECOVERED);
  const void *bytes;
  size_t length;
  engram_pin *pin;
  OK(engram_service_pin(service, "concept 5", 9, &bytes, &length, &pin));
  CHECK(length == 3 && memcmp(bytes, "new", 3) == 0);
  OK(engram_service_unpin(pin));
  OK(engram_service_pin(service, "concept 99", 10, &bytes, &length, &pin));
  CHECK(length == 10 && memcmp(bytes, "concept 99", 10) == 0);
  OK(engram_service_unpin(pin));
  EQUAL(engram_service_pin(service, "concept 6", 9, &bytes, &length, &pin), ENGRAM_E_NOT_FOUND);
  OK(engram_service_close(service));
  OK(engram_service_open(&config, &service));
  OK(engram_service_close(service));
}

static double utilization(const engram_service *service) {
  char text[16384];
  CHECK(engram_service_metrics_json(service, text, sizeof text) < sizeof text);
  const char *const share = strstr(text, "\"memory_utilization\":");
  CHECK(share != NULL);
  return strtod(strchr(share, ':') + 1, NULL);
}

/* Only who may open another file can ask the system which pages it has touched. */
static void how_well_memory_is_used_is_told_without_another_file(void) {
  unlink(FILE_NAME);
  engram_service_config config;
  OK(engram_service_config_init(&config, sizeof config));
  config.path = FILE_NAME;
  config.capacity = 64 * MIB;
  config.columns = 4;
  engram_service *service;
  OK(engram_service_open(&config, &service));
  static char content[1000];
  for (int i = 0; i < 10000; i++) {
    char id[16];
    const int length = snprintf(id, sizeof id, "concept %d", i);
    const engram_concept concept = {
        .id = id, .id_length = (size_t)length, .type = "entity", .type_length = 6, .content = content, .content_length = sizeof content};
    OK(engram_service_allocate(service, &concept, NULL));
  }
  const double told = utilization(service);
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  const struct rlimit none = {.rlim_cur = 0, .rlim_max = limit.rlim_max};
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  const double guessed = utilization(service);
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  printf("%g of the touched pages are used, and %g of the spans\n", told, guessed);
  CHECK(told > 0.4 && guessed > told * 3 / 4 && guessed < told * 4 / 3);
  OK(engram_service_close(service));
}

int main(void) {
  files_are_created_reopened_grown_and_locked();
#ifdef __linux__
  space_is_reserved_or_not();
#endif
  what_a_dead_process_had_is_there();
  published_blocks_are_named_or_not_there();
  given_memory_is_all_that_is_used();
  given_memory_is_locked_as_long_as_the_arena_is_open();
  a_service_is_reopened();
  how_well_memory_is_used_is_told_without_another_file();
  unlink(FILE_NAME);
  return 0;
}
