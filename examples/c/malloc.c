/* malloc out of an arena, under programs that are not changed. Each thread holds a column as long as it lives; what the arena refuses
 * comes from the C library, as does what the arena itself needs to be opened. A double free, or a pointer into a block, ends the
 * program with one line that says what is wrong. For Linux with glibc.
 *
 *     cargo build --release
 *     cc -std=c11 -O2 -fPIC -shared examples/c/malloc.c -Iinclude target/release/libengram.a -lpthread -ldl -lm \
 *        -Wl,--exclude-libs,ALL -o libengram_malloc.so
 *     LD_PRELOAD=$PWD/libengram_malloc.so python3 -c 'print("from an arena")'
 *
 * What others free of a thread's blocks waits for that thread, and what all threads keep goes back to the system in malloc_trim only:
 * a program with a heap that shrinks calls it now and then. In a forked child the columns of its parent's other threads stay held.
 */
#define _GNU_SOURCE
#include "engram.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that the arena may grow to, in chunks of 2 MiB. They are addresses: memory is taken as it is used. */
#ifndef CAPACITY
#define CAPACITY ((size_t)64 << 30)
#endif

enum { COLUMNS = 256, ENOUGH = 16 };

/* The C library's own, by the names that glibc has for who stands in front of them. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t align, size_t size);
extern void __libc_free(void *p);
static size_t (*libc_usable_size)(void *p);

static _Atomic(engram_arena *) arena; /* NULL until it is open, and if it could not be opened */
static char *start;                   /* of its memory: there before the arena is */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_end; /* of a thread */

/* A thread that has not allocated yet; one that is about to get ready, and takes from the C library what it needs for that; one that
 * is ready, with a column or, if all were held or it is about to end, without. */
enum readiness { NEW, AT_IT, READY };

#define OF_THREAD static __thread __attribute__((tls_model("initial-exec")))
OF_THREAD enum readiness readiness;
OF_THREAD engram_column *column;

static void leave(void *held) {
  column = NULL;
  engram_column_release(held);
}

static void open_arena(void) {
  void *const found = dlsym(RTLD_NEXT, "malloc_usable_size");
  memcpy(&libc_usable_size, &found, sizeof found);

  engram_arena_config config;
  engram_arena_config_init(&config, sizeof config);
  config.capacity = CAPACITY;
  config.columns = COLUMNS;
  config.flags = ENGRAM_ARENA_ABORT;
  engram_arena *opened;
  if (pthread_key_create(&at_end, leave) == 0 && engram_arena_open(&config, &opened) == ENGRAM_OK) {
    start = engram_arena_at(opened, 0);
    arena = opened;
  }
}

/* The calling thread's first allocation: it takes the lowest column that nobody holds. */
static void get_ready(void) {
  const int error = errno;
  readiness = AT_IT;
  pthread_once(&once, open_arena);
  for (uint32_t index = 0; arena != NULL && column == NULL && index < COLUMNS; index++) {
    engram_column_acquire(arena, index, &column);
  }
  if (column != NULL && pthread_setspecific(at_end, column) != 0) {
    leave(column); /* Else nobody would give it back. */
  }
  readiness = READY;
  errno = error;
}

static bool is_ours(const void *p) { return arena != NULL && (size_t)((uintptr_t)p - (uintptr_t)start) < CAPACITY; }

/* A block of the arena; NULL if there is none to be had. */
static void *from_arena(size_t size, size_t align) {
  if (readiness == NEW) {
    get_ready();
  }
  size += size == 0;
  if (column != NULL) {
    return engram_column_alloc(column, size, align, ENGRAM_TTFS_NONE);
  }
  return readiness == READY ? engram_alloc(arena, ENGRAM_COLUMN_ANY, size, align, ENGRAM_TTFS_NONE) : NULL;
}

void *malloc(size_t size) {
  void *const block = from_arena(size, ENOUGH);
  return block != NULL ? block : __libc_malloc(size);
}

void free(void *p) {
  if (!is_ours(p)) {
    __libc_free(p);
  } else if (column != NULL) {
    engram_column_free(column, p);
  } else {
    engram_free(arena, p);
  }
}

void *calloc(size_t count, size_t size) {
  if (size != 0 && count > SIZE_MAX / size) {
    errno = ENOMEM;
    return NULL;
  }
  void *const block = from_arena(count * size, ENOUGH);
  return block != NULL ? memset(block, 0, count * size) : __libc_calloc(count, size);
}

size_t malloc_usable_size(void *p) {
  return is_ours(p) ? engram_usable_size(arena, p) : p != NULL ? libc_usable_size(p) : 0;
}

void *realloc(void *p, size_t size) {
  if (p == NULL) {
    return malloc(size);
  }
  if (!is_ours(p)) {
    return __libc_realloc(p, size);
  }
  if (size == 0) {
    free(p);
    return NULL;
  }
  void *block = column != NULL ? engram_column_realloc(column, p, size, ENGRAM_TTFS_NONE) : engram_realloc(arena, p, size, ENGRAM_TTFS_NONE);
  if (block == NULL) {
    block = __libc_malloc(size);
    if (block != NULL) {
      const size_t bytes = engram_usable_size(arena, p);
      memcpy(block, p, bytes < size ? bytes : size);
      free(p);
    }
  }
  return block;
}

void *memalign(size_t align, size_t size) {
  void *const block = from_arena(size, align < ENOUGH ? ENOUGH : align);
  return block != NULL ? block : __libc_memalign(align, size);
}

void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }

int posix_memalign(void **out, size_t align, size_t size) {
  if (align % sizeof(void *) != 0 || align == 0 || (align & (align - 1)) != 0) {
    return EINVAL;
  }
  const int error = errno;
  void *const block = memalign(align, size);
  errno = error;
  if (block == NULL) {
    return ENOMEM;
  }
  *out = block;
  return 0;
}

void *valloc(size_t size) { return memalign(4096, size); }
void *pvalloc(size_t size) { return memalign(4096, size <= SIZE_MAX - 4095 ? (size + 4095) & ~(size_t)4095 : size); }

/* Gives back what nobody uses; what held columns keep stays with them. */
int malloc_trim(size_t pad) {
  (void)pad;
  while (arena != NULL && engram_maintain(arena, 10 * 1000 * 1000) == ENGRAM_MORE) {
  }
  return 1;
}
