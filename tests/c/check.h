/* What the programs of this folder check with: the first check that fails says where, and ends the program. */
#ifndef ENGRAM_TESTS_CHECK_H
#define ENGRAM_TESTS_CHECK_H

#include "engram.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define MAYBE_UNUSED __attribute__((unused))
#else
#define MAYBE_UNUSED
#endif

/* The whole message of this thread's last failure. */
MAYBE_UNUSED static const char *last_message(void) {
  static char text[512];
  engram_last_error_message(text, sizeof text);
  return text;
}

MAYBE_UNUSED static void failed_at(const char *file, int line, const char *what) {
  fprintf(stderr, "%s:%d: %s\n  last error: %s, %s\n", file, line, what, engram_status_name(engram_last_error()), last_message());
  exit(1);
}

#define CHECK(condition) ((condition) ? (void)0 : failed_at(__FILE__, __LINE__, #condition " does not hold"))

MAYBE_UNUSED static void check_equal(const char *file, int line, const char *what, uint64_t is, uint64_t wanted) {
  if (is != wanted) {
    char text[512];
    snprintf(text, sizeof text, "%s is %" PRIu64 " (%" PRId64 "), not %" PRIu64 " (%" PRId64 ")", what, is, (int64_t)is, wanted,
             (int64_t)wanted);
    failed_at(file, line, text);
  }
}

#define EQUAL(is, wanted) check_equal(__FILE__, __LINE__, #is, (uint64_t)(is), (uint64_t)(wanted))

#define OK(call) EQUAL(call, ENGRAM_OK)

MAYBE_UNUSED static engram_metrics metrics_of(const engram_arena *arena) {
  engram_metrics metrics;
  OK(engram_metrics_get(arena, &metrics, sizeof metrics));
  return metrics;
}

/* An arena with these options; NULL means that the system refused, and says why. */
MAYBE_UNUSED static engram_arena *open_arena(size_t capacity, uint32_t columns, uint32_t flags) {
  engram_arena_config config;
  engram_arena *arena = NULL;
  OK(engram_arena_config_init(&config, sizeof config));
  config.capacity = capacity;
  config.columns = columns;
  config.flags = flags;
  if (engram_arena_open(&config, &arena) != ENGRAM_OK) {
    CHECK(arena == NULL);
  }
  return arena;
}

/* Every byte of a block says whose it is. */
MAYBE_UNUSED static void stamp(void *block, size_t bytes, uint64_t owner) {
  unsigned char *const to = block;
  for (size_t i = 0; i < bytes; i++) {
    to[i] = (unsigned char)(owner + i * 7);
  }
}

MAYBE_UNUSED static bool is_stamped(const void *block, size_t bytes, uint64_t owner) {
  const unsigned char *const from = block;
  for (size_t i = 0; i < bytes; i++) {
    if (from[i] != (unsigned char)(owner + i * 7)) {
      return false;
    }
  }
  return true;
}

MAYBE_UNUSED static bool is_zero(const void *block, size_t bytes) {
  const unsigned char *const from = block;
  for (size_t i = 0; i < bytes; i++) {
    if (from[i] != 0) {
      return false;
    }
  }
  return true;
}

MAYBE_UNUSED static bool is_aligned(const void *block, size_t align) { return (uintptr_t)block % align == 0; }

#endif
