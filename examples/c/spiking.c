/* A small spiking network in an arena, from C: each thread holds a column with its neurons' synapses, spikes travel as
 * blocks to other threads and are freed there, and a population is laid out by who fires first.
 *
 *     cargo build --release
 *     cc -std=c99 examples/c/spiking.c -Iinclude target/release/libengram.a -lpthread -ldl -lm -o spiking && ./spiking
 */
#define _POSIX_C_SOURCE 200809L
#include "engram.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, NEURONS = 256, SYNAPSES = 24, STEPS = 200, MAILBOX = 4096, MS = 1000 * 1000 };

static void must(bool holds, const char *what) {
  if (!holds) {
    char why[256];
    engram_last_error_message(why, sizeof why);
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
  }
}

/* A neuron integrates what it receives and fires at a threshold (leaky integrate-and-fire). */
struct neuron {
  float potential;
  float *weights;
};

/* A spike on its way: allocated by the sender in its own column, freed by the receiver. */
struct spike {
  struct spike *next;
  uint32_t neuron, synapse;
};

struct shard {
  engram_arena *arena;
  uint32_t number;
  pthread_mutex_t mutex; /* guards inbox and waiting */
  struct spike *inbox;
  uint32_t waiting;
  uint64_t fired, received;
};

static struct shard shards[THREADS];

/* Latency to the first spike: the stronger the drive, the sooner; between 2 and 100 ms. */
static uint32_t first_spike(uint32_t neuron) { return (2 + neuron * 2654435761u % 99) * MS; }

static struct spike *take_inbox(struct shard *shard) {
  pthread_mutex_lock(&shard->mutex);
  struct spike *const first = shard->inbox;
  shard->inbox = NULL;
  shard->waiting = 0;
  pthread_mutex_unlock(&shard->mutex);
  return first;
}

static bool post(struct shard *to, struct spike *spike) {
  pthread_mutex_lock(&to->mutex);
  const bool room = to->waiting < MAILBOX;
  if (room) {
    spike->next = to->inbox;
    to->inbox = spike;
    to->waiting++;
  }
  pthread_mutex_unlock(&to->mutex);
  return room;
}

static void *run(void *of) {
  struct shard *const self = of;
  engram_column *column;
  must(engram_column_acquire(self->arena, self->number, &column) == ENGRAM_OK, "acquire");

  struct neuron *const neurons = engram_column_alloc(column, NEURONS * sizeof *neurons, 64, 0);
  must(neurons != NULL, "neurons");
  for (uint32_t n = 0; n < NEURONS; n++) {
    neurons[n].potential = 0.0f;
    neurons[n].weights = engram_column_alloc(column, SYNAPSES * sizeof(float), 0, first_spike(n));
    must(neurons[n].weights != NULL, "weights");
    for (uint32_t s = 0; s < SYNAPSES; s++) {
      neurons[n].weights[s] = 0.2f + 0.01f * (float)((n + s) % 16);
    }
  }

  for (uint32_t step = 0; step < STEPS; step++) {
    for (struct spike *spike = take_inbox(self), *next; spike != NULL; spike = next) {
      next = spike->next;
      neurons[spike->neuron].potential += neurons[spike->neuron].weights[spike->synapse];
      self->received++;
      must(engram_column_free(column, spike) == ENGRAM_OK, "free"); /* of whatever column it is: wait-free */
    }
    for (uint32_t n = 0; n < NEURONS; n++) {
      neurons[n].potential = 0.9f * neurons[n].potential + 0.13f;
      if (neurons[n].potential < 1.0f) {
        continue;
      }
      neurons[n].potential = 0.0f;
      self->fired++;
      for (uint32_t k = 1; k <= 2; k++) {
        struct spike *const spike = engram_column_alloc(column, sizeof *spike, 0, first_spike(n));
        must(spike != NULL, "spike");
        spike->neuron = (n * 31 + step * k) % NEURONS;
        spike->synapse = (n + step) % SYNAPSES;
        if (!post(&shards[(self->number + k) % THREADS], spike)) {
          must(engram_column_free(column, spike) == ENGRAM_OK, "free");
        }
      }
    }
  }
  must(engram_column_release(column) == ENGRAM_OK, "release"); /* its blocks stay */
  return NULL;
}

/* A population built at once: the earlier a neuron fires, the lower its address. */
static void lay_out(engram_arena *arena) {
  engram_request requests[NEURONS];
  void *blocks[NEURONS];
  for (uint32_t n = 0; n < NEURONS; n++) {
    requests[n] = (engram_request){SYNAPSES * sizeof(float), 0, THREADS, first_spike(n)};
  }
  must(engram_alloc_batch(arena, requests, NEURONS, ENGRAM_BATCH_ORDERED | ENGRAM_BATCH_ATOMIC, blocks, NULL) == ENGRAM_OK, "batch");
  uint32_t early = 0, late = 0;
  for (uint32_t n = 1; n < NEURONS; n++) {
    early = requests[n].ttfs_ns < requests[early].ttfs_ns ? n : early;
    late = requests[n].ttfs_ns > requests[late].ttfs_ns ? n : late;
  }
  printf("ordered batch: first at %3u ms, offset %zu; last at %3u ms, offset %zu\n", requests[early].ttfs_ns / MS,
         engram_arena_offset(arena, blocks[early]), requests[late].ttfs_ns / MS, engram_arena_offset(arena, blocks[late]));
  must(engram_free_batch(arena, blocks, NEURONS) == ENGRAM_OK, "free");
}

int main(void) {
  engram_arena_config config;
  engram_arena *arena;
  engram_arena_config_init(&config, sizeof config);
  config.capacity = (size_t)32 << 20;
  config.columns = THREADS + 1;
  must(engram_arena_open(&config, &arena) == ENGRAM_OK, "open");

  pthread_t threads[THREADS];
  for (uint32_t i = 0; i < THREADS; i++) {
    shards[i].arena = arena;
    shards[i].number = i;
    pthread_mutex_init(&shards[i].mutex, NULL);
  }
  for (uint32_t i = 0; i < THREADS; i++) {
    must(pthread_create(&threads[i], NULL, run, &shards[i]) == 0, "thread");
  }
  uint64_t fired = 0, received = 0;
  for (uint32_t i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    fired += shards[i].fired;
    received += shards[i].received;
  }
  printf("%d threads, %d steps: %" PRIu64 " spikes fired, %" PRIu64 " received\n", THREADS, STEPS, fired, received);
  lay_out(arena);

  engram_metrics metrics;
  must(engram_metrics_get(arena, &metrics, sizeof metrics) == ENGRAM_OK, "metrics");
  printf("%" PRIu64 " blocks given, %" PRIu64 " freed, %" PRIu64 " of them by other threads; %" PRIu64 " bytes at most\n", metrics.allocs,
         metrics.frees, metrics.remote_frees, metrics.bytes_peak);
  return engram_arena_close(arena) == ENGRAM_OK ? 0 : 1;
}
