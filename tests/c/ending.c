/* A service is used while its thread, or the whole program, is ending: nothing panics, aborts or is lost then. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>

static engram_service *service;
static pthread_key_t key;
static int ended;

static engram_concept concept_of(const char *id) {
  engram_concept of;
  memset(&of, 0, sizeof of);
  of.id = id, of.id_length = strlen(id);
  of.type = "entity", of.type_length = 6;
  of.content = "purrs", of.content_length = 5;
  of.priority = 1;
  return of;
}

/* Every call that looks for a concept. */
static void use(void) {
  engram_concept cat = concept_of("cat"), dog = concept_of("dog");
  EQUAL(engram_service_allocate(service, &cat, NULL), ENGRAM_OK);
  EQUAL(engram_service_allocate_batch(service, &dog, 1, ENGRAM_BATCH_ATOMIC, NULL), ENGRAM_OK);
  EQUAL(engram_service_link(service, "cat", 3, "dog", 3), ENGRAM_OK);
  EQUAL(engram_service_update(service, "cat", 3, "sleeps", 6, NULL), ENGRAM_OK);
  const void *bytes;
  size_t length;
  engram_pin *pin;
  EQUAL(engram_service_pin(service, "cat", 3, &bytes, &length, &pin), ENGRAM_OK);
  CHECK(length == 6 && memcmp(bytes, "sleeps", 6) == 0);
  EQUAL(engram_service_unpin(pin), ENGRAM_OK);
  EQUAL(engram_service_deallocate(service, "cat", 3, NULL), ENGRAM_OK);
  EQUAL(engram_service_deallocate(service, "dog", 3, NULL), ENGRAM_OK);
  CHECK(engram_service_metrics_json(service, NULL, 0) > 0);
}

static void at_the_threads_end(void *rounds) {
  use();
  ended++;
  /* The next round comes after others of the thread's keys and variables are gone. */
  if ((size_t)rounds > 1) pthread_setspecific(key, (void *)((size_t)rounds - 1));
}

static void *thread(void *nothing) {
  use();
  pthread_setspecific(key, (void *)3);
  return nothing;
}

static void at_exit(void) {
  use();
  EQUAL(engram_service_close(service), ENGRAM_OK);
  puts("closed");
}

int main(void) {
  engram_service_config config;
  EQUAL(engram_service_config_init(&config, sizeof config), ENGRAM_OK);
  EQUAL(engram_service_open(&config, &service), ENGRAM_OK);
  CHECK(pthread_key_create(&key, at_the_threads_end) == 0);
  pthread_t other;
  CHECK(pthread_create(&other, NULL, thread, NULL) == 0 && pthread_join(other, NULL) == 0);
  EQUAL(ended, 3);
  use();
  CHECK(atexit(at_exit) == 0);
  return 0;
}
