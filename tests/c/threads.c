/* Several threads at once: blocks freed by others than allocated them, unheld allocation in held columns and in the
 * threads' own, batches, columns that change hands. Every block says whose it is, and is checked before it is freed. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>

enum { THREADS = 4, ROUNDS = 6000, SLOTS = 64, BATCH = 24, MS = 1000 * 1000 };

struct block {
  void *start;
  size_t bytes;
  uint64_t owner;
};

/* Blocks on their way from one thread to the next. */
struct mailbox {
  pthread_mutex_t mutex;
  struct block blocks[SLOTS];
  size_t count;
};

struct thread {
  pthread_t id;
  uint32_t number;
  uint64_t random;
  uint64_t allocs, frees, busy, refused;
};

static engram_arena *arena;
static struct mailbox mailboxes[THREADS];
static struct thread threads[THREADS];
static uint32_t homes[THREADS];

static uint32_t next(struct thread *self, uint32_t below) {
  self->random ^= self->random << 13;
  self->random ^= self->random >> 7;
  self->random ^= self->random << 17;
  return (uint32_t)(self->random >> 32) % below;
}

static struct block stamped(struct thread *self, void *start, size_t bytes) {
  struct block block = {start, bytes, (uint64_t)self->number << 32 | ++self->allocs};
  CHECK(engram_usable_size(arena, start) >= bytes);
  stamp(start, bytes, block.owner);
  return block;
}

static void free_checked(struct thread *self, engram_column *column, struct block block) {
  CHECK(is_stamped(block.start, block.bytes, block.owner));
  memset(block.start, 0, block.bytes);
  OK(column != NULL ? engram_column_free(column, block.start) : engram_free(arena, block.start));
  self->frees++;
}

static size_t some_size(struct thread *self) {
  switch (next(self, 16)) {
    case 0: return 1 + next(self, 40000);
    case 1: return 1 + next(self, 5000);
    default: return 1 + next(self, 300);
  }
}

/* A block that may have moved, with the content that it had; the same block, if that was refused. */
static struct block resized(struct thread *self, struct block block) {
  const size_t bytes = some_size(self), stays = bytes < block.bytes ? bytes : block.bytes;
  void *const start = engram_realloc(arena, block.start, bytes, ENGRAM_TTFS_NONE);
  if (start == NULL) {
    EQUAL(engram_last_error(), ENGRAM_E_NO_MEMORY);
    self->refused++;
    return block;
  }
  CHECK(engram_usable_size(arena, start) >= bytes && is_stamped(start, stays, block.owner));
  stamp(start, bytes, block.owner);
  return (struct block){start, bytes, block.owner};
}

/* Gives a block to another thread, or frees it if that thread's mailbox is full. */
static void send(struct thread *self, engram_column *column, struct block block) {
  struct mailbox *const box = &mailboxes[next(self, THREADS)];
  pthread_mutex_lock(&box->mutex);
  const bool room = box->count < SLOTS;
  if (room) {
    box->blocks[box->count++] = block;
  }
  pthread_mutex_unlock(&box->mutex);
  if (!room) {
    free_checked(self, column, block);
  }
}

static size_t receive(struct thread *self, struct block *blocks) {
  struct mailbox *const box = &mailboxes[self->number];
  pthread_mutex_lock(&box->mutex);
  const size_t count = box->count;
  memcpy(blocks, box->blocks, count * sizeof *blocks);
  box->count = 0;
  pthread_mutex_unlock(&box->mutex);
  return count;
}

static void *run(void *of) {
  struct thread *const self = of;
  engram_column *column = NULL;
  struct block blocks[SLOTS];
  for (uint32_t round = 0; round < ROUNDS; round++) {
    if (round % 500 == 0) { /* the columns change hands */
      OK(engram_column_release(column));
      const uint32_t index = (self->number + round / 500) % THREADS;
      const engram_status status = engram_column_acquire(arena, index, &column);
      CHECK(status == ENGRAM_OK || (status == ENGRAM_E_BUSY && column == NULL));
      self->busy += status == ENGRAM_E_BUSY;
      CHECK(column == NULL || engram_column_index(column) == index);
    }
    const size_t size = some_size(self);
    const size_t align = next(self, 8) ? 0 : (size_t)32 << next(self, 4);
    const uint32_t time = next(self, 3) ? next(self, 200) * MS : ENGRAM_TTFS_NONE;
    void *out[BATCH], *start = NULL;
    switch (next(self, 8)) {
      case 0: start = engram_alloc(arena, next(self, THREADS), size, align, time); break; /* often held by another */
      case 1: start = engram_alloc(arena, ENGRAM_COLUMN_ANY, size, align, time); break;
      case 2: start = engram_alloc_zeroed(arena, ENGRAM_COLUMN_ANY, size, align, time); CHECK(start == NULL || is_zero(start, size)); break;
      case 3: {
        engram_request requests[BATCH];
        size_t served;
        for (uint32_t i = 0; i < BATCH; i++) {
          requests[i] = (engram_request){some_size(self), 0, next(self, 2) ? ENGRAM_COLUMN_ANY : next(self, THREADS), next(self, 200) * MS};
        }
        const engram_status status = engram_alloc_batch(arena, requests, BATCH, next(self, 4), out, &served);
        CHECK(status == ENGRAM_OK || status == ENGRAM_E_NO_MEMORY);
        self->refused += status != ENGRAM_OK;
        struct block given[BATCH];
        for (uint32_t i = 0; i < BATCH; i++) {
          if (out[i] != NULL) {
            given[i] = stamped(self, out[i], requests[i].size);
          }
        }
        if (next(self, 2) && served == BATCH) { /* all at once */
          for (uint32_t i = 0; i < BATCH; i++) {
            CHECK(is_stamped(given[i].start, given[i].bytes, given[i].owner));
          }
          OK(engram_free_batch(arena, out, BATCH));
          self->frees += BATCH;
        } else {
          for (uint32_t i = 0; i < BATCH; i++) {
            if (out[i] != NULL) {
              send(self, column, given[i]);
            }
          }
        }
        continue;
      }
      case 4:
        if (column != NULL) {
          const size_t served = engram_column_alloc_batch(column, size, align, time, 8, out);
          for (size_t i = 0; i < served; i++) {
            send(self, column, stamped(self, out[i], size));
          }
          self->refused += served < 8;
          continue;
        } /* fall through */
      default:
        start = column != NULL ? engram_column_alloc(column, size, align, time) : engram_alloc(arena, self->number, size, align, time);
    }
    if (start == NULL) {
      EQUAL(engram_last_error(), ENGRAM_E_NO_MEMORY);
      self->refused++;
    } else {
      CHECK(is_aligned(start, align == 0 ? 16 : align));
      send(self, column, stamped(self, start, size));
    }
    if (next(self, 4) == 0) {
      for (size_t count = receive(self, blocks); count > 0; count--) {
        const struct block block = next(self, 4) ? blocks[count - 1] : resized(self, blocks[count - 1]);
        free_checked(self, next(self, 2) ? column : NULL, block);
      }
    }
    if (next(self, 500) == 0) {
      const engram_status status = engram_maintain(arena, 100000);
      CHECK(status == ENGRAM_OK || status == ENGRAM_MORE || status == ENGRAM_E_BUSY);
    }
    if (next(self, 200) == 0) { /* what any thread may ask or say meanwhile */
      char text[4096];
      OK(engram_column_limit(arena, next(self, THREADS), SIZE_MAX));
      CHECK(engram_metrics_json(arena, text, sizeof text) < sizeof text && text[0] == '{');
      CHECK(engram_metrics_openmetrics(arena, text, sizeof text) < sizeof text && strstr(text, "# EOF\n") != NULL);
      const engram_metrics now = metrics_of(arena);
      CHECK(now.bytes_live <= now.bytes_capacity && now.frees <= now.allocs && now.misuse == 0);
    }
  }
  OK(engram_column_release(column));
  return NULL;
}

/* Each thread has a home column of its own, while there are enough. */
static void *ask_for_home(void *of) {
  struct thread *const self = of;
  void *const block = engram_alloc(arena, ENGRAM_COLUMN_ANY, 64, 0, 0);
  CHECK(block != NULL);
  for (uint32_t index = 0; index < 16; index++) { /* whose walk shows the block? */
    engram_column *column;
    if (engram_column_acquire(arena, index, &column) == ENGRAM_OK) {
      OK(engram_column_reset(column));
      if (engram_usable_size(arena, block) == 0) {
        homes[self->number] = index;
        OK(engram_column_release(column));
        return NULL;
      }
      OK(engram_column_release(column));
    }
  }
  CHECK(!"the home column was not found");
  return NULL;
}

static void homes_differ(void) {
  arena = open_arena(8u << 20, 16, 0);
  CHECK(arena != NULL);
  for (uint32_t i = 0; i < THREADS; i++) {
    CHECK(pthread_create(&threads[i].id, NULL, ask_for_home, &threads[i]) == 0 && pthread_join(threads[i].id, NULL) == 0);
    for (uint32_t k = 0; k < i; k++) {
      CHECK(homes[i] != homes[k]);
    }
  }
  OK(engram_arena_close(arena));
}

int main(void) {
  for (uint32_t i = 0; i < THREADS; i++) {
    pthread_mutex_init(&mailboxes[i].mutex, NULL);
    threads[i].number = i;
    threads[i].random = 0x9e3779b97f4a7c15u * (i + 1);
  }
  homes_differ();
  arena = open_arena(16u << 20, THREADS, 0);
  CHECK(arena != NULL);
  for (uint32_t i = 0; i < THREADS; i++) {
    CHECK(pthread_create(&threads[i].id, NULL, run, &threads[i]) == 0);
  }
  uint64_t allocs = 0, frees = 0, refused = 0;
  for (uint32_t i = 0; i < THREADS; i++) {
    CHECK(pthread_join(threads[i].id, NULL) == 0);
  }
  OK(engram_arena_verify(arena));
  for (uint32_t i = 0; i < THREADS; i++) {
    struct block blocks[SLOTS];
    for (size_t count = receive(&threads[i], blocks); count > 0; count--) {
      free_checked(&threads[i], NULL, blocks[count - 1]);
    }
    allocs += threads[i].allocs;
    frees += threads[i].frees;
    refused += threads[i].refused;
  }
  const engram_metrics end = metrics_of(arena);
  EQUAL(allocs, frees);
  EQUAL(end.allocs, end.frees);
  CHECK(end.allocs >= allocs); /* those of batches that were rolled back are counted too */
  EQUAL(end.bytes_live, 0);
  EQUAL(end.misuse, 0);
  CHECK(end.remote_frees > 0 && (refused > 0) == (end.failed > 0));
  for (engram_status status = ENGRAM_MORE; status != ENGRAM_OK;) {
    status = engram_maintain(arena, 0);
    CHECK(status >= 0);
  }
  OK(engram_arena_verify(arena));
  void *const whole = engram_alloc(arena, 0, 16u << 20, 0, 0); /* nothing was lost */
  CHECK(whole != NULL);
  OK(engram_free(arena, whole));
  OK(engram_arena_close(arena));
  return 0;
}
