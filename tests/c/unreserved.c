/* A file system that reserves no space, under a C library that does not make up for it, as musl: the space is taken all the same, and what is
   in a file stays. The folder to work in is the current one. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const FILE_NAME = "unreserved.engram";
static int calls;

int posix_fallocate(int file, off_t from, off_t bytes) {
  calls += file >= 0 && from == 0 && bytes > 0;
  return EOPNOTSUPP;
}

static engram_arena *opened(size_t capacity, uint32_t flags) {
  engram_arena_config config;
  OK(engram_arena_config_init(&config, sizeof config));
  config.path = FILE_NAME;
  config.capacity = capacity;
  config.columns = 1;
  config.flags = flags;
  engram_arena *arena;
  OK(engram_arena_open(&config, &arena));
  return arena;
}

static void expect(size_t capacity) {
  struct stat about;
  CHECK(stat(FILE_NAME, &about) == 0);
  CHECK((size_t)about.st_size > capacity && about.st_blocks * 512 >= about.st_size);
}

int main(void) {
  unlink(FILE_NAME);
  engram_arena *arena = opened(2 << 20, 0);
  expect(2 << 20);
  char *const block = engram_alloc(arena, 0, 100000, 0, ENGRAM_TTFS_NONE);
  CHECK(block != NULL);
  stamp(block + 5000, 90000, 7);
  const size_t offset = engram_arena_offset(arena, block);
  OK(engram_arena_close(arena));

  arena = opened(4 << 20, 0);
  expect(4 << 20);
  OK(engram_arena_close(arena));
  arena = opened(4 << 20, 0);
  CHECK(calls == 3);
  const char *const again = engram_arena_at(arena, offset);
  CHECK(is_zero(again, 5000) && is_stamped(again + 5000, 90000, 7) && is_zero(again + 95000, 5000));
  OK(engram_arena_verify(arena));
  OK(engram_arena_close(arena));
  unlink(FILE_NAME);
  return 0;
}
