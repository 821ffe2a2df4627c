/* The library loaded while the program runs: loaded LIBRARY FUNCTION... finds every function named, and uses some. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <dlfcn.h>

/* A function of the library, as a pointer of the right type: POSIX says that the copy works. */
#define FIND(library, function)                          \
  do {                                                   \
    void *const found = dlsym(library, "engram_" #function); \
    CHECK(found != NULL);                                \
    memcpy(&function, &found, sizeof found);             \
  } while (0)

int main(int count, char **arguments) {
  CHECK(count > 2);
  void *const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  for (int i = 2; i < count; i++) {
    if (dlsym(library, arguments[i]) == NULL) {
      fprintf(stderr, "%s\n", dlerror());
      return 1;
    }
  }
  engram_status (*arena_open)(const engram_arena_config *, engram_arena **);
  engram_status (*column_acquire)(engram_arena *, uint32_t, engram_column **);
  void *(*column_alloc)(engram_column *, size_t, size_t, uint32_t);
  engram_status (*column_free)(engram_column *, void *);
  engram_status (*column_release)(engram_column *);
  engram_status (*arena_verify)(const engram_arena *);
  engram_status (*arena_close)(engram_arena *);
  size_t (*last_error_message)(char *, size_t);
  FIND(library, arena_open);
  FIND(library, column_acquire);
  FIND(library, column_alloc);
  FIND(library, column_free);
  FIND(library, column_release);
  FIND(library, arena_verify);
  FIND(library, arena_close);
  FIND(library, last_error_message);

  engram_arena *arena;
  engram_column *column;
  char text[128];
  CHECK(arena_open(NULL, &arena) == ENGRAM_OK && column_acquire(arena, 1, &column) == ENGRAM_OK);
  void *const block = column_alloc(column, 100, 64, ENGRAM_TTFS_NONE);
  CHECK(block != NULL && is_aligned(block, 64));
  CHECK(column_free(column, block) == ENGRAM_OK && column_free(column, block) == ENGRAM_E_DOUBLE_FREE);
  CHECK(last_error_message(text, sizeof text) < sizeof text && strstr(text, "is not handed out") != NULL);
  CHECK(column_release(column) == ENGRAM_OK && arena_verify(arena) == ENGRAM_OK && arena_close(arena) == ENGRAM_OK);
  return 0;
}
