/* A system that says to have done what it was asked, and has not, as qemu does for the programs of another processor: a forked child is known
   as one all the same. The folder to work in is the current one. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

static const char *const FILE_NAME = "pretending.engram";

int madvise(void *start, size_t bytes, int advice);
int madvise(void *start, size_t bytes, int advice) { return start == NULL && bytes > 0 && advice == 0; }

static engram_status opened(engram_arena **arena) {
  engram_arena_config config;
  OK(engram_arena_config_init(&config, sizeof config));
  config.path = FILE_NAME;
  config.capacity = 2 << 20;
  config.columns = 1;
  return engram_arena_open(&config, arena);
}

int main(void) {
  unlink(FILE_NAME);
  engram_arena *arena, *second;
  OK(opened(&arena));
  void *const block = engram_alloc(arena, 0, 100, 0, ENGRAM_TTFS_NONE);
  CHECK(block != NULL);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    engram_arena_close(arena);
    _exit(0);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  EQUAL(opened(&second), ENGRAM_E_BUSY);
  OK(engram_free(arena, block));
  OK(engram_arena_close(arena));
  unlink(FILE_NAME);
  return 0;
}
