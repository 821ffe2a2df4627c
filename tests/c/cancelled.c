/* A thread that is to be cancelled ends after a call, not in the middle of it. The folder to work in is the current one. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>

static const char *const ARENA = "cancelled-arena.engram";
static const char *const SERVICE = "cancelled-service.engram";
static const char *const COPY = "cancelled.copy";

static engram_arena *arena;
static engram_service *service;

static void open_arena_in_file(void) {
  engram_arena_config config;
  OK(engram_arena_config_init(&config, sizeof config));
  config.path = ARENA;
  config.capacity = 2 << 20;
  config.columns = 1;
  OK(engram_arena_open(&config, &arena));
}

static void refuse_an_open(void) {
  engram_arena_config config;
  OK(engram_arena_config_init(&config, sizeof config));
  config.path = "no-such-folder/arena";
  engram_arena *none;
  EQUAL(engram_arena_open(&config, &none), ENGRAM_E_OS);
  CHECK(strlen(last_message()) > 20);
}

static void sync_arena(void) { OK(engram_arena_sync(arena)); }

static void copy_arena(void) { OK(engram_arena_snapshot(arena, COPY)); }

static void verify_arena(void) { OK(engram_arena_verify(arena)); }

static void maintain_arena(void) { CHECK(engram_maintain(arena, 1000000) >= 0); }

static int visit(void *user, void *block, size_t usable) {
  pthread_testcancel();
  *(size_t *)user += block != NULL && usable >= 100;
  return 0;
}

static void walk_column(void) {
  engram_column *column;
  OK(engram_column_acquire(arena, 0, &column));
  CHECK(engram_column_alloc(column, 100, 0, ENGRAM_TTFS_NONE) != NULL);
  size_t visited = 0;
  OK(engram_column_walk(column, visit, &visited));
  CHECK(visited == 1);
  OK(engram_column_release(column));
}

static void close_arena(void) { OK(engram_arena_close(arena)); }

static void open_service_in_file(void) {
  engram_service_config config;
  OK(engram_service_config_init(&config, sizeof config));
  config.path = SERVICE;
  config.capacity = 4 << 20;
  config.columns = 2;
  OK(engram_service_open(&config, &service));
}

static void allocate(void) {
  engram_concept concept;
  memset(&concept, 0, sizeof concept);
  concept.id = "cat";
  concept.id_length = 3;
  concept.type = "entity";
  concept.type_length = 6;
  OK(engram_service_allocate(service, &concept, NULL));
}

static void maintain_service(void) { CHECK(engram_service_maintain(service, 1000000) >= 0); }

static void measure_service(void) {
  char text[8192];
  CHECK(engram_service_metrics_json(service, text, sizeof text) > 0);
}

static void close_service(void) { OK(engram_service_close(service)); }

static const struct {
  const char *name;
  void (*call)(void);
} calls[] = {
    {"open an arena", open_arena_in_file},
    {"refuse to open one", refuse_an_open},
    {"sync", sync_arena},
    {"snapshot", copy_arena},
    {"verify", verify_arena},
    {"maintain", maintain_arena},
    {"walk through a column", walk_column},
    {"close an arena", close_arena},
    {"open a service", open_service_in_file},
    {"allocate", allocate},
    {"maintain a service", maintain_service},
    {"metrics of a service", measure_service},
    {"close a service", close_service},
};

static bool has_returned;
static int state_before, state_after;

static void *cancelled(void *call) {
  pthread_cancel(pthread_self());
  pthread_setcancelstate(state_before, NULL);
  calls[*(const size_t *)call].call();
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state_after);
  has_returned = true;
  pthread_setcancelstate(state_after, NULL);
  pthread_testcancel();
  return NULL;
}

static void call_each(int state) {
  state_before = state;
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    pthread_t thread;
    void *end = NULL;
    has_returned = false;
    printf("%s\n", calls[i].name);
    fflush(stdout);
    CHECK(pthread_create(&thread, NULL, cancelled, &i) == 0);
    CHECK(pthread_join(thread, &end) == 0);
    CHECK(has_returned);
    EQUAL(state_after, state);
    CHECK((end == PTHREAD_CANCELED) == (state == PTHREAD_CANCEL_ENABLE));
  }
  remove(COPY);
  remove(ARENA);
  remove(SERVICE);
}

int main(void) {
  remove(ARENA);
  remove(SERVICE);
  call_each(PTHREAD_CANCEL_ENABLE);
  call_each(PTHREAD_CANCEL_DISABLE);
  return 0;
}
