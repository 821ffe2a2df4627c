/* A spiking network that lives in a region file: killed at any moment, it goes on where it was, and fires the same spikes.
 * examples/checkpoint.rs is the same program, goes on with the same file, and says how it is done.
 *
 *     cargo build --release
 *     cc -std=c99 examples/c/checkpoint.c -Iinclude target/release/libengram.a -lpthread -ldl -lm -o checkpoint
 *     ./checkpoint FILE [STEPS] [--kill-at STEP]
 */
#define _POSIX_C_SOURCE 200809L
#include "engram.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEURONS = 300, SYNAPSES = 20, THRESHOLD = 1000, ROW = (NEURONS + 7) / 8, MS = 1000 * 1000 };

static const uint64_t SEED = UINT64_C(0x5eed0fa11ca11e27);

/* What the root names. Blocks are named by their offsets, which stay the same wherever the file is mapped. */
struct network {
  volatile uint64_t step; /* steps that are done */
  uint64_t steps;
  uint64_t states[2];
  uint64_t spikes;
  uint64_t synapses[NEURONS];
};

/* All that changes from step to step. */
struct state {
  uint64_t random;
  int32_t potential[NEURONS];
  int32_t input[NEURONS]; /* what arrives in this step */
};

struct synapse {
  uint32_t target;
  int32_t weight;
};

static engram_arena *arena;

static void must(bool holds, const char *what) {
  if (!holds) {
    char why[256];
    engram_last_error_message(why, sizeof why);
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
  }
}

/* Marsaglia's xorshift64. */
static uint64_t next(uint64_t *random) {
  *random ^= *random << 13;
  *random ^= *random >> 7;
  *random ^= *random << 17;
  return *random;
}

static void *at(uint64_t offset) { return engram_arena_at(arena, offset); }

/* A new block, zeroed: its offset. */
static uint64_t add(engram_column *column, size_t bytes, uint32_t spike) {
  void *const block = engram_column_alloc(column, bytes, 16, spike);
  must(block != NULL, "a block");
  memset(block, 0, bytes);
  return engram_arena_offset(arena, block);
}

/* Makes the network; the root comes last. What a creation that was killed has left goes first. */
static void create(uint64_t steps) {
  engram_column *column;
  must(engram_column_acquire(arena, 0, &column) == ENGRAM_OK, "the column");
  must(engram_column_reset(column) == ENGRAM_OK, "a reset");
  uint64_t random = SEED;
  /* Not the first block: it may lie at offset 0, which in a root stands for nothing. */
  const uint64_t states[2] = {add(column, sizeof(struct state), ENGRAM_TTFS_NONE), add(column, sizeof(struct state), ENGRAM_TTFS_NONE)};
  const uint64_t root = add(column, sizeof(struct network), ENGRAM_TTFS_NONE);
  struct network *const network = at(root);
  network->steps = steps;
  memcpy(network->states, states, sizeof states);
  network->spikes = add(column, steps * ROW, ENGRAM_TTFS_NONE);
  for (uint32_t neuron = 0; neuron < NEURONS; neuron++) {
    network->synapses[neuron] = add(column, SYNAPSES * sizeof(struct synapse), (1 + neuron % 100) * MS);
    struct synapse *const synapses = at(network->synapses[neuron]);
    for (int i = 0; i < SYNAPSES; i++) {
      synapses[i].target = (uint32_t)(next(&random) % NEURONS);
      synapses[i].weight = (int32_t)(next(&random) % 200) - 60;
    }
  }
  ((struct state *)at(network->states[0]))->random = random;
  must(engram_set_root(arena, 0, root) == ENGRAM_OK, "the root");
  must(engram_column_release(column) == ENGRAM_OK, "the column");
}

/* Does the step after `step`, into the other state. Only spikes and that state are written. */
static void advance(const struct network *network, uint64_t step, bool die) {
  const struct state *const now = at(network->states[step % 2]);
  struct state *const then = at(network->states[1 - step % 2]);
  uint8_t *const row = at(network->spikes + step * ROW);
  memset(row, 0, ROW);
  memset(then->input, 0, sizeof then->input);
  then->random = now->random;
  for (int neuron = 0; neuron < NEURONS; neuron++) {
    const int32_t noise = (int32_t)(next(&then->random) % 100);
    const int32_t before = now->potential[neuron];
    /* Rounded down, as an arithmetic shift does. */
    const int32_t leak = before >= 0 ? before / 16 : -((-before + 15) / 16);
    const int32_t potential = before - leak + now->input[neuron] + noise;
    then->potential[neuron] = potential;
    if (potential >= THRESHOLD) {
      then->potential[neuron] = 0;
      row[neuron / 8] |= (uint8_t)(1u << neuron % 8);
      const struct synapse *const synapses = at(network->synapses[neuron]);
      for (int i = 0; i < SYNAPSES; i++) then->input[synapses[i].target] += synapses[i].weight;
    }
    if (die && neuron == NEURONS / 2) raise(SIGKILL);
  }
}

int main(int argc, char **argv) {
  const char *path = NULL;
  uint64_t steps = 2000, kill_at = UINT64_MAX;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--kill-at") == 0 && i + 1 < argc)
      kill_at = strtoull(argv[++i], NULL, 10);
    else if (path == NULL)
      path = argv[i];
    else
      steps = strtoull(argv[i], NULL, 10);
  }
  if (path == NULL || steps == 0) {
    fprintf(stderr, "usage: checkpoint FILE [STEPS] [--kill-at STEP]\n");
    return 2;
  }
  engram_arena_config config;
  must(engram_arena_config_init(&config, sizeof config) == ENGRAM_OK, "the config");
  config.path = path;
  config.capacity = 8 << 20;
  config.columns = 1;
  const engram_status opened = engram_arena_open(&config, &arena);
  must(opened == ENGRAM_OK || opened == ENGRAM_RECOVERED, path);
  if (engram_root(arena, 0) == 0) create(steps);
  struct network *const network = at(engram_root(arena, 0));
  const char *const how = opened == ENGRAM_RECOVERED ? "recovered" : "opened";
  fprintf(stderr, "%s at step %" PRIu64 " of %" PRIu64 "\n", how, network->step, network->steps);
  for (uint64_t step = network->step; step < network->steps; step++) {
    advance(network, step, step == kill_at);
    /* All that the step wrote comes before: with a C11 compiler, an atomic store with release. */
    __sync_synchronize();
    network->step = step + 1;
    __sync_synchronize();
  }
  for (uint64_t step = 0; step < network->steps; step++) {
    const uint8_t *const row = at(network->spikes + step * ROW);
    printf("%" PRIu64 ":", step);
    for (int neuron = 0; neuron < NEURONS; neuron++)
      if (row[neuron / 8] >> neuron % 8 & 1) printf(" %d", neuron);
    printf("\n");
  }
  must(engram_arena_close(arena) == ENGRAM_OK, "closing");
  return 0;
}
