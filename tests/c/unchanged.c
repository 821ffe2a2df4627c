/* A program that knows nothing of engram, under examples/c/malloc.c with an arena of 8 MiB. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "%s does not hold\n", what);
    exit(1);
  }
}
#define CHECK(condition) check((condition), #condition)

/* More threads than columns, all alive at once. */
enum { THREADS = 300, BLOCKS = 40, MANY = 48, MIB = 1 << 20 };

static void *of_threads[THREADS][BLOCKS];
static pthread_barrier_t all;

static size_t size_of(size_t thread, size_t block) { return 1 + (thread * 131 + block * 37) % 600; }

/* Allocates, and frees what the next thread allocated. */
static void *work(void *numbered) {
  const size_t thread = (size_t)(uintptr_t)numbered, next = (thread + 1) % THREADS;
  for (size_t i = 0; i < BLOCKS; i++) {
    of_threads[thread][i] = malloc(size_of(thread, i));
    CHECK(of_threads[thread][i] != NULL);
    memset(of_threads[thread][i], (int)(thread % 251), size_of(thread, i));
  }
  pthread_barrier_wait(&all);
  for (size_t i = 0; i < BLOCKS; i++) {
    const unsigned char *const block = of_threads[next][i];
    CHECK(block[0] == next % 251 && block[size_of(next, i) - 1] == next % 251);
    free(of_threads[next][i]);
  }
  return NULL;
}

static int is_aligned(const void *p, size_t align) { return p != NULL && (uintptr_t)p % align == 0; }

/* How a child ends that does this with a block. */
static int ending_of(void (*act)(char *block), char *block) {
  const pid_t child = fork();
  if (child == 0) {
    act(block);
    _exit(0);
  }
  int status = 0;
  CHECK(child > 0 && waitpid(child, &status, 0) == child);
  return status;
}

static void allocate(char *block) {
  CHECK(memcmp(block, "parent", 7) == 0);
  char *const own = malloc(1000);
  CHECK(own != NULL && own != block);
  free(own);
  free(block);
}

/* Hidden from compilers that know what free does. */
static void (*volatile free_unseen)(void *p) = free;

static void free_twice(char *block) {
  free_unseen(block);
  free_unseen(block);
}

static void free_inside(char *block) { free_unseen(block + 16); }

int main(void) {
  /* A slot of 112 bytes: engram serves it. glibc's would have 104. */
  char *block = malloc(100);
  CHECK(block != NULL && malloc_usable_size(block) == 112 && malloc_usable_size(NULL) == 0);
  strcpy(block, "parent");

  void *const nothing = malloc(0), *const other = malloc(0);
  CHECK(nothing != NULL && other != NULL && nothing != other);
  free(nothing);
  free(other);
  free(NULL);

  errno = 0;
  void *(*volatile calloc_unseen)(size_t, size_t) = calloc;
  CHECK(calloc_unseen(SIZE_MAX / 2, 3) == NULL && errno == ENOMEM);
  errno = 0;
  void *(*volatile pvalloc_unseen)(size_t) = pvalloc;
  CHECK(pvalloc_unseen(SIZE_MAX - 10) == NULL && errno == ENOMEM);
  void *const pages = pvalloc(4097);
  CHECK(pages != NULL && (uintptr_t)pages % 4096 == 0 && malloc_usable_size(pages) >= 8192);
  free(pages);
  void *dirty[4];
  for (size_t i = 0; i < 4; i++) {
    dirty[i] = malloc(5000);
    memset(dirty[i], 255, 5000);
  }
  for (size_t i = 0; i < 4; i++) {
    free(dirty[i]);
  }
  unsigned char *const zeroed = calloc(50, 100);
  CHECK(zeroed != NULL && zeroed[0] == 0 && memcmp(zeroed, zeroed + 1, 4999) == 0);
  free(zeroed);

  void *aligned = NULL;
  CHECK(posix_memalign(&aligned, 24, 100) == EINVAL && posix_memalign(&aligned, 4, 100) == EINVAL && aligned == NULL);
  for (size_t align = 8; align <= 4 * MIB; align *= 2) {
    CHECK(posix_memalign(&aligned, align, 100) == 0 && is_aligned(aligned, align));
    free(aligned);
    CHECK(is_aligned(aligned = aligned_alloc(align, align), align));
    free(aligned);
  }

  /* Grows out of the arena, and shrinks. */
  for (size_t size = 150; size < 64 * MIB; size += size / 2) {
    block = realloc(block, size);
    CHECK(block != NULL && malloc_usable_size(block) >= size && memcmp(block, "parent", 7) == 0);
  }
  block = realloc(block, 100);
  CHECK(block != NULL && memcmp(block, "parent", 7) == 0);
  void *(*volatile realloc_unseen)(void *, size_t) = realloc;
  CHECK(realloc_unseen(malloc(10), 0) == NULL);

  /* Six times as much as the arena holds. */
  void *many[MANY];
  for (size_t i = 0; i < MANY; i++) {
    many[i] = malloc(MIB);
    CHECK(many[i] != NULL);
    memset(many[i], (int)i, MIB);
  }
  for (size_t i = 0; i < MANY; i++) {
    CHECK(((unsigned char *)many[i])[MIB - 1] == i);
    free(many[i]);
  }
  CHECK(malloc_trim(0) == 1);

  pthread_t threads[THREADS];
  CHECK(pthread_barrier_init(&all, NULL, THREADS) == 0);
  for (size_t i = 0; i < THREADS; i++) {
    CHECK(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) == 0);
  }
  for (size_t i = 0; i < THREADS; i++) {
    CHECK(pthread_join(threads[i], NULL) == 0);
  }

  free(block);
  block = malloc(100);
  CHECK(block != NULL && malloc_usable_size(block) == 112);
  strcpy(block, "parent");
  CHECK(ending_of(allocate, block) == 0);
  int ending = ending_of(free_twice, block);
  CHECK(WIFSIGNALED(ending) && WTERMSIG(ending) == SIGABRT);
  ending = ending_of(free_inside, block);
  CHECK(WIFSIGNALED(ending) && WTERMSIG(ending) == SIGABRT);
  CHECK(memcmp(block, "parent", 7) == 0);
  free(block);
  return 0;
}
