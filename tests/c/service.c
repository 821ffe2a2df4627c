/* The service: what it does, and that every misuse gives its status, a message that says what was asked and what is
 * allowed, and changes nothing. Prints the metrics at the end, for who can read JSON. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <math.h>
#include <pthread.h>

/* A type's or id's bytes and their number: not NUL-ended, as far as the service goes. */
#define TEXT(text) text, sizeof(text) - 1

static engram_concept concept_of(const char *id, const char *content) {
  engram_concept concept;
  memset(&concept, 0, sizeof concept);
  concept.id = id;
  concept.id_length = strlen(id);
  concept.type = "entity";
  concept.type_length = 6;
  concept.content = content;
  concept.content_length = strlen(content);
  concept.priority = ENGRAM_PRIORITY_NORMAL;
  return concept;
}

static engram_service_config small_config(void) {
  engram_service_config config;
  OK(engram_service_config_init(&config, sizeof config));
  config.capacity = 16 << 20;
  config.columns = 8;
  return config;
}

static engram_service *open_service(const engram_service_config *config) {
  engram_service *service = NULL;
  OK(engram_service_open(config, &service));
  CHECK(service != NULL);
  return service;
}

/* A concept's content is exactly this. */
static void holds(engram_service *service, const char *id, const void *content, size_t length) {
  const void *bytes;
  size_t is;
  engram_pin *pin;
  OK(engram_service_pin(service, id, strlen(id), &bytes, &is, &pin));
  EQUAL(is, length);
  CHECK(memcmp(bytes, content, length) == 0);
  OK(engram_service_unpin(pin));
}

static bool is_allocated(engram_service *service, const char *id) {
  const void *bytes;
  size_t length;
  engram_pin *pin;
  return engram_service_pin(service, id, strlen(id), &bytes, &length, &pin) == ENGRAM_OK &&
         engram_service_unpin(pin) == ENGRAM_OK;
}

/* A number of the metrics, of the pool with this name, or of the whole if that is NULL. */
static double metric(const engram_service *service, const char *pool, const char *name) {
  static char json[8192];
  char key[64];
  CHECK(engram_service_metrics_json(service, json, sizeof json) < sizeof json);
  const char *at = json;
  if (pool != NULL) {
    snprintf(key, sizeof key, "\"pool_id\":\"%s\"", pool);
    at = strstr(json, key);
    CHECK(at != NULL);
  }
  snprintf(key, sizeof key, "\"%s\":", name);
  at = strstr(at, key);
  CHECK(at != NULL);
  return strtod(at + strlen(key), NULL);
}

static void the_defaults_are_as_said(void) {
  engram_service_config config;
  memset(&config, 0xff, sizeof config);
  OK(engram_service_config_init(&config, sizeof config));
  EQUAL(config.struct_size, sizeof config);
  EQUAL(config.columns, 64);
  EQUAL(config.capacity, 256 << 20);
  CHECK(config.path == NULL && config.pools == NULL);
  EQUAL(config.pool_count, 0);
  EQUAL(config.cache_ttl_ms, 3600 * 1000);
  CHECK(config.cache_entries > 0);
  EQUAL(config.max_concurrent, 1024);
  EQUAL(config.admission_timeout_ms, 1000);
  EQUAL(config.guidance, 1);
  EQUAL(config.seed, 0);
  CHECK(is_zero(config.reserved, sizeof config.reserved));
  engram_service *const service = open_service(&config);
  EQUAL(metric(service, "spatial", "quota_bytes"), 256 << 20);
  OK(engram_service_close(service));
}

static void a_concept_is_stored_updated_and_freed(void) {
  const engram_service_config config = small_config();
  engram_service *const service = open_service(&config);
  engram_concept cat = concept_of("cat", "purrs");
  engram_placement placement;
  memset(&placement, 0xff, sizeof placement);
  OK(engram_service_allocate(service, &cat, &placement));
  EQUAL(placement.status, ENGRAM_OK);
  EQUAL(placement.version, 1);
  CHECK(placement.size >= 5 && placement.column < 8 && placement.time_ns > 0);
  CHECK(placement.confidence >= 0 && placement.confidence <= 1);
  CHECK(placement.strategy <= ENGRAM_STRATEGY_BALANCED);
  EQUAL(placement.cache_hit, 0);
  EQUAL(placement.guided, 1);
  holds(service, "cat", "purrs", 5);

  engram_placement updated;
  OK(engram_service_update(service, TEXT("cat"), TEXT("sleeps, mostly"), &updated));
  EQUAL(updated.status, ENGRAM_OK);
  EQUAL(updated.version, 2);
  EQUAL(updated.column, placement.column);
  CHECK(updated.offset != placement.offset);
  holds(service, "cat", "sleeps, mostly", 14);
  OK(engram_service_update(service, TEXT("cat"), NULL, 0, NULL));
  holds(service, "cat", "", 0);

  const uint64_t used = (uint64_t)metric(service, "entity", "used_bytes");
  uint64_t freed = 0;
  OK(engram_service_deallocate(service, TEXT("cat"), &freed));
  EQUAL(freed, used);
  EQUAL(metric(service, "entity", "used_bytes"), 0);
  CHECK(!is_allocated(service, "cat"));
  freed = 7;
  EQUAL(engram_service_deallocate(service, TEXT("cat"), &freed), ENGRAM_E_NOT_FOUND);
  EQUAL(freed, 0);

  /* Outputs that may be left out. The id is bytes with a length: what follows them does not belong to it. */
  cat.id = "catalogue";
  OK(engram_service_allocate(service, &cat, NULL));
  CHECK(is_allocated(service, "cat") && !is_allocated(service, "catalogue"));
  OK(engram_service_deallocate(service, TEXT("cat"), NULL));

  /* What is copied may be gone. */
  char id[] = "dog", type[] = "event", content[] = "barks";
  engram_concept dog = concept_of(id, content);
  dog.type = type;
  dog.type_length = 5;
  OK(engram_service_allocate(service, &dog, NULL));
  memset(id, '?', sizeof id), memset(type, '?', sizeof type), memset(content, '?', sizeof content);
  holds(service, "dog", "barks", 5);
  EQUAL(metric(service, "event", "allocations"), 1);
  OK(engram_service_close(service));
}

static void content_is_any_bytes_and_as_long_as_allowed(void) {
  engram_service_config config = small_config();
  config.capacity = 64 << 20;
  engram_service *const service = open_service(&config);
  unsigned char all[256];
  for (int i = 0; i < 256; i++) {
    all[i] = (unsigned char)(i * 3); /* 0 first, and no UTF-8 */
  }
  engram_concept concept = concept_of("bytes", "");
  concept.content = all;
  concept.content_length = sizeof all;
  engram_placement placement;
  OK(engram_service_allocate(service, &concept, &placement));
  holds(service, "bytes", all, sizeof all);
  OK(engram_service_update(service, TEXT("bytes"), all + 85, 3, &placement));
  holds(service, "bytes", all + 85, 3);
  concept = concept_of("empty", "");
  concept.content = NULL;
  concept.memory_size = 1000;
  OK(engram_service_allocate(service, &concept, &placement));
  CHECK(placement.size >= 1000);
  holds(service, "empty", "", 0);
  /* An id, too, may be any UTF-8, NUL included. */
  concept.id = "\0\xc3\xa9";
  concept.id_length = 3;
  OK(engram_service_allocate(service, &concept, NULL));
  concept.id_length = 1;
  OK(engram_service_allocate(service, &concept, NULL));

  const size_t longest = 16 << 20;
  unsigned char *const much = malloc(longest);
  CHECK(much != NULL);
  stamp(much, longest, 5);
  concept = concept_of("much", "");
  concept.content = much;
  concept.content_length = longest;
  OK(engram_service_allocate(service, &concept, &placement));
  holds(service, "much", much, longest);
  free(much);
  OK(engram_service_close(service));
}

static void placement_follows_priority_embedding_hints_and_guidance(void) {
  engram_service_config config = small_config();
  engram_service *service = open_service(&config);
  engram_placement given[4], again;
  const char *const names[] = {"low", "normal", "high", "critical"};
  for (uint32_t priority = ENGRAM_PRIORITY_LOW; priority <= ENGRAM_PRIORITY_CRITICAL; priority++) {
    engram_concept concept = concept_of(names[priority], "the same");
    concept.priority = priority;
    OK(engram_service_allocate(service, &concept, &given[priority]));
    CHECK(priority == 0 || given[priority].ttfs_ns < given[priority - 1].ttfs_ns);
  }
  engram_concept concept = concept_of("again", "the same");
  OK(engram_service_allocate(service, &concept, &again));
  EQUAL(again.cache_hit, 1);
  EQUAL(again.ttfs_ns, given[ENGRAM_PRIORITY_NORMAL].ttfs_ns);
  EQUAL(again.column, given[ENGRAM_PRIORITY_NORMAL].column);

  /* The embedding is what counts, if there is one. */
  const float embedding[] = {0.5f, -1.0f, 0.25f, 3.0f};
  concept = concept_of("embedded", "one text");
  concept.embedding = embedding;
  concept.embedding_length = 4;
  concept.expected_accesses_per_s = 2.5f;
  OK(engram_service_allocate(service, &concept, &given[0]));
  concept.id = "embedded too", concept.id_length = 12;
  concept.content = "another, longer one", concept.content_length = 19;
  OK(engram_service_allocate(service, &concept, &given[1]));
  EQUAL(given[0].ttfs_ns, given[1].ttfs_ns);
  holds(service, "embedded too", "another, longer one", 19);

  /* Hinted concepts lie together. A hint may name nobody yet, or be no id at all. */
  char no_id[300];
  memset(no_id, 'x', sizeof no_id);
  const char *const hints[] = {"low", "nobody yet", NULL, no_id};
  const size_t lengths[] = {3, 10, 0, sizeof no_id};
  concept = concept_of("near", "far from it");
  concept.hints = hints;
  concept.hint_lengths = lengths;
  concept.hint_count = 4;
  OK(engram_service_allocate(service, &concept, NULL));
  OK(engram_service_link(service, TEXT("near"), TEXT("critical")));
  OK(engram_service_link(service, TEXT("near"), TEXT("near")));
  engram_status more = ENGRAM_MORE;
  for (int i = 0; i < 10000 && more == ENGRAM_MORE; i++) {
    more = engram_service_maintain(service, 5 * 1000 * 1000);
  }
  OK(more);
  CHECK(metric(service, NULL, "edge_cut") < 1);
  holds(service, "near", "far from it", 11);

  /* The longest id is one, too, and makes the victory of its column clear. */
  char longest[255];
  memset(longest, 'x', sizeof longest);
  const char *const longest_hint[] = {longest};
  const size_t longest_length[] = {sizeof longest};
  concept = concept_of("", "of the longest id");
  concept.id = longest, concept.id_length = sizeof longest;
  OK(engram_service_allocate(service, &concept, &given[0]));
  const char *const others[] = {"one", "two", "three", "four", "five", "six"};
  for (int i = 0; i < 6; i++) {
    concept = concept_of(others[i], others[i]);
    concept.hints = longest_hint;
    concept.hint_lengths = longest_length;
    concept.hint_count = 1;
    OK(engram_service_allocate(service, &concept, &given[1]));
    EQUAL(given[1].column, given[0].column);
    CHECK(given[1].confidence > 0);
  }
  OK(engram_service_close(service));

  config.guidance = 0;
  config.seed = 7;
  for (int i = 0; i < 2; i++) {
    service = open_service(&config);
    concept = concept_of("cat", "purrs");
    OK(engram_service_allocate(service, &concept, &given[i]));
    EQUAL(given[i].guided, 0);
    EQUAL(given[i].cache_hit, 0);
    OK(engram_service_close(service));
  }
  EQUAL(given[0].column, given[1].column);

  /* Ids spread over the columns. */
  service = open_service(&config);
  uint32_t columns = 0;
  for (int i = 0; i < 6; i++) {
    concept = concept_of(others[i], "purrs");
    OK(engram_service_allocate(service, &concept, &given[0]));
    columns |= 1u << given[0].column;
  }
  CHECK((columns & (columns - 1)) != 0 && columns < 256);

  /* What is asked for decides how a concept is served. */
  unsigned char rich[2048];
  stamp(rich, sizeof rich, 7);
  concept = concept_of("rich", "");
  concept.content = rich, concept.content_length = sizeof rich;
  OK(engram_service_allocate(service, &concept, &given[0]));
  EQUAL(given[0].strategy, ENGRAM_STRATEGY_HIGH_COMPLEXITY);
  concept = concept_of("frequent", "purrs");
  concept.expected_accesses_per_s = 1000;
  OK(engram_service_allocate(service, &concept, &given[0]));
  EQUAL(given[0].strategy, ENGRAM_STRATEGY_HIGH_PERFORMANCE);
  concept = concept_of("large", "purrs");
  concept.memory_size = 5000;
  OK(engram_service_allocate(service, &concept, &given[0]));
  EQUAL(given[0].strategy, ENGRAM_STRATEGY_RESOURCE_OPTIMIZED);
  concept = concept_of("usual", "purrs");
  OK(engram_service_allocate(service, &concept, &given[0]));
  EQUAL(given[0].strategy, ENGRAM_STRATEGY_BALANCED);
  OK(engram_service_close(service));
}

static void quotas_are_kept_to_the_byte_and_reserves_for_early_spikes(void) {
  engram_service_config config = small_config();
  engram_pool_config pools[2];
  memset(pools, 0, sizeof pools);
  pools[0].type = "small-pool", pools[0].type_length = 10;
  pools[0].quota_bytes = 4096;
  pools[1].type = "kept", pools[1].type_length = 4;
  pools[1].initial_bytes = 1024;
  pools[1].quota_bytes = 4096;
  pools[1].reserve_bytes = 2048;
  pools[1].reserve_ttfs_ns = 4 * 1000 * 1000;
  config.pools = pools;
  config.pool_count = 2;
  engram_service *const service = open_service(&config);
  memset(pools, 0xff, sizeof pools); /* copied */

  engram_placement placement;
  engram_concept concept = concept_of("", "");
  char id[16];
  concept.type = "small-pool", concept.type_length = 10;
  concept.memory_size = 900;
  engram_status status = ENGRAM_OK;
  uint32_t allocated = 0;
  for (; status == ENGRAM_OK && allocated < 10; allocated += status == ENGRAM_OK) {
    snprintf(id, sizeof id, "s%u", (unsigned)allocated);
    concept.id = id, concept.id_length = strlen(id);
    status = engram_service_allocate(service, &concept, &placement);
  }
  EQUAL(status, ENGRAM_E_QUOTA);
  EQUAL(placement.status, ENGRAM_E_QUOTA);
  EQUAL(placement.size + placement.offset + placement.version, 0);
  CHECK(allocated >= 3 && allocated <= 4);
  CHECK(strstr(last_message(), "pool small-pool may hold 4096 bytes") != NULL && strstr(last_message(), "were asked for") != NULL);
  CHECK(metric(service, "small-pool", "used_bytes") <= 4096);
  EQUAL(metric(service, "small-pool", "refusals"), 1);
  /* Both versions count for a moment. */
  EQUAL(engram_service_update(service, TEXT("s0"), TEXT("new"), &placement), ENGRAM_E_QUOTA);
  EQUAL(placement.status, ENGRAM_E_QUOTA);
  OK(engram_service_deallocate(service, TEXT("s1"), NULL));
  OK(engram_service_update(service, TEXT("s0"), TEXT("new"), &placement));
  char long_content[3000];
  memset(long_content, 0, sizeof long_content);
  EQUAL(engram_service_update(service, TEXT("s0"), long_content, sizeof long_content, &placement), ENGRAM_E_QUOTA);
  EQUAL(placement.status, ENGRAM_E_QUOTA);
  holds(service, "s0", "new", 3);

  concept.type = "kept", concept.type_length = 4;
  concept.id = "late", concept.id_length = 4;
  concept.memory_size = 3000;
  concept.priority = ENGRAM_PRIORITY_LOW;
  EQUAL(engram_service_allocate(service, &concept, NULL), ENGRAM_E_QUOTA);
  CHECK(strstr(last_message(), "keeps 2048 for earlier spikes") != NULL);
  concept.priority = ENGRAM_PRIORITY_CRITICAL;
  OK(engram_service_allocate(service, &concept, &placement));
  CHECK(placement.ttfs_ns <= 4 * 1000 * 1000);

  concept.type = "entity", concept.type_length = 6;
  concept.id = "other", concept.id_length = 5;
  EQUAL(engram_service_allocate(service, &concept, &placement), ENGRAM_E_NOT_FOUND);
  CHECK(strstr(last_message(), "no pool for the type entity") != NULL && strstr(last_message(), "small-pool, kept") != NULL);
  OK(engram_service_close(service));

  /* The pool would allow it, but there is no memory. */
  config = small_config();
  config.capacity = 2 << 20;
  pools[0].type = "entity", pools[0].type_length = 6;
  pools[0].quota_bytes = UINT64_MAX;
  pools[0].initial_bytes = pools[0].reserve_bytes = pools[0].reserve_ttfs_ns = pools[0].reserved = 0;
  config.pools = pools;
  config.pool_count = 1;
  engram_service *const tiny = open_service(&config);
  concept = concept_of("much", "");
  concept.memory_size = 3 << 20;
  EQUAL(engram_service_allocate(tiny, &concept, &placement), ENGRAM_E_NO_MEMORY);
  CHECK(strstr(last_message(), "the service has 2097152 bytes in all") != NULL);
  concept.memory_size = SIZE_MAX / 2;
  EQUAL(engram_service_allocate(tiny, &concept, &placement), ENGRAM_E_NO_MEMORY);
  OK(engram_service_close(tiny));
}

static void batches_are_served_each_on_its_own_or_all_or_none(void) {
  engram_service_config config = small_config();
  engram_service *const service = open_service(&config);
  engram_concept concepts[5];
  engram_placement out[5];
  const char *const names[] = {"a", "b", "c", "d", "e"};
  for (int i = 0; i < 5; i++) {
    concepts[i] = concept_of(names[i], "the content");
    concepts[i].priority = (uint32_t)i % 4;
  }
  OK(engram_service_allocate_batch(service, concepts, 5, ENGRAM_BATCH_ATOMIC, out));
  for (int i = 0; i < 5; i++) {
    EQUAL(out[i].status, ENGRAM_OK);
    EQUAL(out[i].version, 1);
    holds(service, names[i], "the content", 11);
    OK(engram_service_deallocate(service, names[i], 1, NULL));
  }
  CHECK(out[3].ttfs_ns < out[2].ttfs_ns && out[2].ttfs_ns < out[1].ttfs_ns && out[1].ttfs_ns < out[0].ttfs_ns);
  OK(engram_service_allocate_batch(service, concepts, 0, 0, out));
  OK(engram_service_allocate_batch(service, concepts, 0, ENGRAM_BATCH_ATOMIC, NULL));

  /* All or none: b is there already. */
  OK(engram_service_allocate(service, &concepts[1], NULL));
  memset(out, 0xff, sizeof out);
  EQUAL(engram_service_allocate_batch(service, concepts, 5, ENGRAM_BATCH_ATOMIC, out), ENGRAM_E_EXISTS);
  CHECK(strstr(last_message(), "concepts[1]: ") == last_message() && strstr(last_message(), "already allocated") != NULL);
  for (int i = 0; i < 5; i++) {
    EQUAL(out[i].status, ENGRAM_E_EXISTS);
    EQUAL(out[i].offset + out[i].size + out[i].version + out[i].time_ns, 0);
    EQUAL(is_allocated(service, names[i]), i == 1);
  }

  /* Each on its own. What could never be served is named first, in its order, though b would spike later than d. */
  concepts[3].id = "\xff";
  concepts[4].type = "nonesuch", concepts[4].type_length = 8;
  EQUAL(engram_service_allocate_batch(service, concepts, 5, 0, out), ENGRAM_E_INVALID);
  CHECK(strstr(last_message(), "concepts[3]: id is no UTF-8 from its byte 0 (0xff) on") == last_message());
  EQUAL(out[0].status, ENGRAM_OK);
  EQUAL(out[1].status, ENGRAM_E_EXISTS);
  EQUAL(out[2].status, ENGRAM_OK);
  EQUAL(out[3].status, ENGRAM_E_INVALID);
  EQUAL(out[4].status, ENGRAM_E_NOT_FOUND);
  CHECK(is_allocated(service, "a") && is_allocated(service, "c"));
  /* Each answer is at its concept's place, also behind one that could never be served. */
  const engram_concept behind[] = {concepts[3], concept_of("behind", "x"), concepts[0]};
  EQUAL(engram_service_allocate_batch(service, behind, 3, 0, out), ENGRAM_E_INVALID);
  EQUAL(out[0].status, ENGRAM_E_INVALID);
  EQUAL(out[1].status, ENGRAM_OK);
  EQUAL(out[2].status, ENGRAM_E_EXISTS);
  CHECK(out[1].version == 1 && is_allocated(service, "behind"));
  /* All or none names the first of these, too, though it is another step that finds it. */
  EQUAL(engram_service_allocate_batch(service, concepts + 3, 2, ENGRAM_BATCH_ATOMIC, out), ENGRAM_E_INVALID);
  CHECK(strstr(last_message(), "concepts[0]: ") == last_message());
  const engram_concept swapped[] = {concepts[4], concepts[3]};
  EQUAL(engram_service_allocate_batch(service, swapped, 2, ENGRAM_BATCH_ATOMIC, out), ENGRAM_E_NOT_FOUND);
  CHECK(strstr(last_message(), "concepts[0]: ") == last_message());
  EQUAL(out[1].status, ENGRAM_E_NOT_FOUND);

  /* Of those that could be served, the earliest spike is named: all three exist, and c spikes before b and a. */
  EQUAL(engram_service_allocate_batch(service, concepts, 3, 0, out), ENGRAM_E_EXISTS);
  CHECK(strstr(last_message(), "concepts[2]: ") == last_message());
  OK(engram_service_close(service));
}

static void *hand_back(void *pin) {
  OK(engram_service_unpin(pin));
  return NULL;
}

static void pinned_bytes_stay_and_may_be_handed_back_on_another_thread(void) {
  engram_service_config config = small_config();
  engram_service *const service = open_service(&config);
  char content[500];
  stamp(content, sizeof content, 1);
  engram_concept concept = concept_of("cat", "");
  concept.content = content;
  concept.content_length = sizeof content;
  OK(engram_service_allocate(service, &concept, NULL));
  const void *bytes, *same;
  size_t length;
  engram_pin *pin, *second, *third;
  OK(engram_service_pin(service, TEXT("cat"), &bytes, &length, &pin));
  OK(engram_service_pin(service, TEXT("cat"), &same, &length, &second));
  CHECK(bytes == same && pin != second);
  OK(engram_service_update(service, TEXT("cat"), TEXT("new"), NULL));
  OK(engram_service_pin(service, TEXT("cat"), &same, &length, &third));
  EQUAL(length, 3);
  OK(engram_service_deallocate(service, TEXT("cat"), NULL));

  /* Others take all the memory there is, and give it back, and take it again: the pinned bytes stay. */
  char *const other = malloc(100 * 1000);
  CHECK(other != NULL);
  memset(other, 0xee, 100 * 1000);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 400; i++) {
      char id[16];
      snprintf(id, sizeof id, "n%d", i);
      engram_concept next = concept_of(id, "");
      next.content = other;
      next.content_length = i % 2 == 0 ? sizeof content : 40 * 1000;
      const engram_status status = engram_service_allocate(service, &next, NULL);
      CHECK(status == ENGRAM_OK || status == ENGRAM_E_NO_MEMORY || status == ENGRAM_E_QUOTA);
    }
    for (int i = 0; i < 400; i++) {
      char id[16];
      snprintf(id, sizeof id, "n%d", i);
      const engram_status status = engram_service_deallocate(service, id, strlen(id), NULL);
      CHECK(status == ENGRAM_OK || status == ENGRAM_E_NOT_FOUND);
    }
    CHECK(engram_service_maintain(service, 1000 * 1000) >= 0);
    CHECK(is_stamped(bytes, sizeof content, 1) && memcmp(same, "new", 3) == 0);
  }
  free(other);

  EQUAL(engram_service_close(service), ENGRAM_E_BUSY);
  CHECK(strstr(last_message(), "pins (3 by now)") != NULL && strstr(last_message(), "engram_service_unpin") != NULL);
  pthread_t thread;
  EQUAL(pthread_create(&thread, NULL, hand_back, pin), 0);
  EQUAL(pthread_join(thread, NULL), 0);
  OK(engram_service_unpin(third));
  CHECK(is_stamped(bytes, sizeof content, 1));
  EQUAL(engram_service_close(service), ENGRAM_E_BUSY);
  CHECK(strstr(last_message(), "pins (1 by now)") != NULL);
  OK(engram_service_unpin(second));
  concept.id = "after", concept.id_length = 5;
  OK(engram_service_allocate(service, &concept, NULL)); /* it was not closed */
  OK(engram_service_close(service));
}

/* Calls that must be refused. */
#define REFUSED(call, wanted, asked, allowed)                                                                  \
  do {                                                                                                         \
    EQUAL(engram_arena_open(NULL, NULL), ENGRAM_E_NULL); /* forget the last error, by one of another kind */   \
    EQUAL(call, wanted);                                                                                       \
    EQUAL(engram_last_error(), wanted);                                                                        \
    if (strstr(last_message(), asked) == NULL || strstr(last_message(), allowed) == NULL) {                    \
      failed_at(__FILE__, __LINE__, "the message must say \"" asked "\" and \"" allowed "\"");                 \
    }                                                                                                          \
  } while (0)

#define VALID "must point to a valid object"
#define AN_ID "it must be 1 to 255 bytes of UTF-8"
#define A_TYPE "1 to 32 bytes of a-z, 0-9, _ and -"

static engram_service *service;
static engram_concept wrong;

/* A concept is refused, alone and in batches, and nothing is allocated. */
#define REFUSED_CONCEPT(why, asked, allowed)                                                          \
  do {                                                                                                   \
    engram_placement out[2];                                                                             \
    memset(out, 0xff, sizeof out);                                                                       \
    REFUSED(engram_service_allocate(service, &wrong, out), why, asked, allowed);                      \
    refused_everywhere(why, &out[0]);                                                                 \
    const engram_concept both[2] = {concept_of("good", ""), wrong};                                      \
    memset(out, 0xff, sizeof out);                                                                       \
    REFUSED(engram_service_allocate_batch(service, both, 2, 0, out), why, "concepts[1]: ", allowed);  \
    EQUAL(out[0].status, ENGRAM_OK);                                                                     \
    refused_everywhere(why, &out[1]);                                                                 \
    OK(engram_service_deallocate(service, TEXT("good"), NULL));                                          \
    REFUSED(engram_service_allocate_batch(service, both, 2, ENGRAM_BATCH_ATOMIC, out), why, asked, allowed); \
    refused_everywhere(why, &out[0]);                                                                 \
    refused_everywhere(why, &out[1]);                                                                 \
    EQUAL(metric(service, NULL, "active_allocations"), 0);                                               \
    wrong = concept_of("wrong", "content");                                                              \
  } while (0)

static void refused_everywhere(engram_status status, const engram_placement *out) {
  engram_placement nothing;
  memset(&nothing, 0, sizeof nothing);
  nothing.status = status;
  EQUAL(out->status, status);
  CHECK(out->offset == 0 && out->size == 0 && out->version == 0 && out->column == 0 && out->ttfs_ns == 0 && out->strategy == 0);
  CHECK(out->cache_hit == 0 && out->guided == 0 && out->time_ns == 0 && is_zero(&out->confidence, sizeof out->confidence));
}

static void configs_out_of_range_are_refused(void) {
  engram_service_config config, before;
  engram_service *opened = NULL;
  REFUSED(engram_service_config_init(NULL, sizeof config), ENGRAM_E_NULL, "config is null", VALID);
  memset(&config, 0x5a, sizeof config);
  before = config;
  REFUSED(engram_service_config_init(&config, sizeof config - 1), ENGRAM_E_INVALID, "struct_size is 95", "is 96");
  CHECK(memcmp(&config, &before, sizeof config) == 0);
  config = small_config();
  REFUSED(engram_service_open(&config, NULL), ENGRAM_E_NULL, "out is null", VALID);
  REFUSED(engram_service_open(NULL, &opened), ENGRAM_E_NULL, "config is null", VALID);

#define REFUSED_CONFIG(change, status, asked, allowed)                          \
  do {                                                                          \
    config = small_config();                                                    \
    change;                                                                     \
    opened = (engram_service *)&config;                                         \
    REFUSED(engram_service_open(&config, &opened), status, asked, allowed);     \
    CHECK(opened == NULL);                                                      \
  } while (0)
  REFUSED_CONFIG(config.struct_size = 0, ENGRAM_E_INVALID, "struct_size is 0", "is 96");
  REFUSED_CONFIG(config.struct_size++, ENGRAM_E_INVALID, "struct_size is 97", "is 96");
  REFUSED_CONFIG(config.columns = 0, ENGRAM_E_INVALID, "0 columns were asked for", "1 to 65536");
  REFUSED_CONFIG(config.columns = 65537, ENGRAM_E_INVALID, "65537 columns were asked for", "1 to 65536");
  REFUSED_CONFIG(config.capacity = 0, ENGRAM_E_INVALID, "capacity of 0 bytes", "1 to 1099511627776");
  REFUSED_CONFIG(config.capacity = UINT64_MAX, ENGRAM_E_INVALID, "capacity of 18446744073709551615", "1 to 1099511627776");
  REFUSED_CONFIG(config.max_concurrent = 0, ENGRAM_E_INVALID, "the number of concurrent allocations is 0", "at least 1");
  REFUSED_CONFIG(config.guidance = 2, ENGRAM_E_INVALID, "guidance is 2", "0 or 1");
  REFUSED_CONFIG(config.path = "no such folder/concepts.engram", ENGRAM_E_OS, "no such folder/concepts.engram", "open it");
  REFUSED_CONFIG(config.path = "", ENGRAM_E_INVALID, "path is empty", "or be NULL");
  for (int i = 0; i < 7; i++) {
    REFUSED_CONFIG(config.reserved[i] = 1, ENGRAM_E_INVALID, "a reserved field is not zero", "init function");
  }

  engram_pool_config pools[65];
  char types[65][4];
#define REFUSED_POOLS(change, count, status, asked, allowed)                                             \
  do {                                                                                                   \
    memset(pools, 0, sizeof pools);                                                                      \
    for (int p = 0; p < 65; p++) {                                                                       \
      snprintf(types[p], sizeof types[p], "t%d", p);                                                     \
      pools[p].type = types[p], pools[p].type_length = strlen(types[p]), pools[p].quota_bytes = 1 << 20; \
    }                                                                                                    \
    change;                                                                                              \
    REFUSED_CONFIG((config.pools = pools, config.pool_count = count), status, asked, allowed);           \
  } while (0)
  REFUSED_CONFIG(config.pool_count = 1, ENGRAM_E_NULL, "pools is null", VALID);
  REFUSED_POOLS((void)0, 65, ENGRAM_E_INVALID, "pool_count is 65", "1 to 64");
  REFUSED_POOLS((void)0, SIZE_MAX, ENGRAM_E_INVALID, "pool_count is 18446744073709551615", "1 to 64");
  REFUSED_POOLS(pools[1].type = NULL, 2, ENGRAM_E_NULL, "a pool's type is null", VALID);
  REFUSED_POOLS(pools[1].type_length = 0, 2, ENGRAM_E_INVALID, "a pool's type is 0 bytes long", A_TYPE);
  REFUSED_POOLS(pools[1].type_length = 33, 2, ENGRAM_E_INVALID, "a pool's type is 33 bytes long", A_TYPE);
  REFUSED_POOLS(pools[1].type = "T1", 2, ENGRAM_E_INVALID, "\"T1\"", A_TYPE);
  REFUSED_POOLS(pools[1].type = "t\xff", 2, ENGRAM_E_INVALID, "no UTF-8 from its byte 1 (0xff) on", A_TYPE);
  REFUSED_POOLS(pools[1].type = "t0", 2, ENGRAM_E_INVALID, "two pools for the type t0", "one pool for a type");
  REFUSED_POOLS(pools[1].reserved = 1, 2, ENGRAM_E_INVALID, "a reserved field is not zero", "init function");
  REFUSED_POOLS(pools[1].initial_bytes = (1 << 20) + 1, 2, ENGRAM_E_INVALID, "initial_bytes is 1048577 in pool t1", "quota_bytes");
  REFUSED_POOLS(pools[1].reserve_bytes = (1 << 20) + 1, 2, ENGRAM_E_INVALID, "reserve_bytes is 1048577 in pool t1", "quota_bytes");
  REFUSED_POOLS(pools[1].initial_bytes = pools[1].quota_bytes = 17 << 20, 2, ENGRAM_E_INVALID, "17825792 in all pools",
                "at most the capacity");

  /* Pools without a number are none: the default ones are taken. */
  config = small_config();
  config.pools = pools;
  service = open_service(&config);
  EQUAL(metric(service, "entity", "quota_bytes"), 16 << 20);
  OK(engram_service_close(service));
}

static void concepts_out_of_range_are_refused(void) {
  const engram_service_config config = small_config();
  service = open_service(&config);
  wrong = concept_of("wrong", "content");
  engram_placement out;
  char text[300];
  memset(text, 'x', sizeof text);
  const float numbers[] = {1.0f, INFINITY, NAN};
  const char *const hints[] = {"cat", NULL, "\xf0\x28"};
  const size_t lengths[] = {3, 1, 2};

  REFUSED(engram_service_allocate(NULL, &wrong, &out), ENGRAM_E_NULL, "service is null", VALID);
  EQUAL(out.status, ENGRAM_E_NULL);
  REFUSED(engram_service_allocate(service, NULL, &out), ENGRAM_E_NULL, "concept is null", VALID);
  EQUAL(out.status, ENGRAM_E_NULL);
  REFUSED(engram_service_allocate(service, NULL, NULL), ENGRAM_E_NULL, "concept is null", VALID);

  /* A pointer that is NULL comes before anything else. */
  wrong.id = NULL, wrong.type_length = 0, wrong.priority = 9;
  REFUSED_CONCEPT(ENGRAM_E_NULL, "id is null", VALID);
  wrong.id = NULL, wrong.id_length = 0;
  REFUSED_CONCEPT(ENGRAM_E_NULL, "id is null", VALID);
  wrong.type = NULL, wrong.id_length = 0;
  REFUSED_CONCEPT(ENGRAM_E_NULL, "type is null", VALID);
  wrong.content = NULL, wrong.id_length = 0;
  REFUSED_CONCEPT(ENGRAM_E_NULL, "content is null", VALID);
  wrong.embedding_length = 1, wrong.id_length = 0;
  REFUSED_CONCEPT(ENGRAM_E_NULL, "embedding is null", VALID);
  wrong.hint_count = 1, wrong.hint_lengths = lengths;
  REFUSED_CONCEPT(ENGRAM_E_NULL, "hints is null", VALID);
  wrong.hint_count = 1, wrong.hints = hints, wrong.priority = 9;
  REFUSED_CONCEPT(ENGRAM_E_NULL, "hint_lengths is null", VALID);
  wrong.hint_count = 2, wrong.hints = hints, wrong.hint_lengths = lengths;
  REFUSED_CONCEPT(ENGRAM_E_NULL, "a hint is null", VALID);

  wrong.id_length = 0;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "id is 0 bytes long", AN_ID);
  wrong.id = text, wrong.id_length = 256;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "id is 256 bytes long", AN_ID);
  wrong.id_length = SIZE_MAX;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "id is 18446744073709551615 bytes long", AN_ID);
  wrong.id = "a\xc3(", wrong.id_length = 3;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "id is no UTF-8 from its byte 1 (0xc3) on", AN_ID);
  wrong.type_length = 0;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "type is 0 bytes long", A_TYPE);
  wrong.type = text, wrong.type_length = 33;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "type is 33 bytes long", A_TYPE);
  wrong.type = "Entity";
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "\"Entity\"", A_TYPE);
  wrong.type = "\x80ntity";
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "type is no UTF-8 from its byte 0 (0x80) on", A_TYPE);
  wrong.type = "entit";
  wrong.type_length = 5;
  REFUSED_CONCEPT(ENGRAM_E_NOT_FOUND, "no pool for the type entit", "entity, abstract, event");
  wrong.content_length = (16 << 20) + 1;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "content is 16777217 bytes long", "at most 16777216 bytes");
  wrong.content_length = SIZE_MAX;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "content is 18446744073709551615 bytes long", "at most 16777216 bytes");
  wrong.embedding = numbers;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "embedding is empty", "at least one number");
  wrong.embedding = numbers, wrong.embedding_length = 2;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "embedding is inf at index 1", "finite throughout");
  wrong.embedding = numbers + 2, wrong.embedding_length = 1;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "embedding is NaN at index 0", "finite throughout");
  wrong.embedding = numbers, wrong.embedding_length = SIZE_MAX / 2;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "embedding_length is 9223372036854775807", "memory can hold");
  wrong.hints = hints, wrong.hint_lengths = lengths, wrong.hint_count = SIZE_MAX;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "hint_count is 18446744073709551615", "memory can hold");
  wrong.hints = hints + 2, wrong.hint_lengths = lengths + 2, wrong.hint_count = 1;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "a hint is no UTF-8 from its byte 0 (0xf0) on", "an id: UTF-8");
  wrong.priority = 4;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "priority is 4", "0 (low) to 3 (critical)");
  wrong.expected_accesses_per_s = -1;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "expected_accesses_per_s is -1", "finite and at least 0");
  wrong.expected_accesses_per_s = NAN;
  REFUSED_CONCEPT(ENGRAM_E_INVALID, "expected_accesses_per_s is NaN", "finite and at least 0");
  wrong.memory_size = 1 << 30;
  REFUSED_CONCEPT(ENGRAM_E_NO_MEMORY, "no free memory would serve", "the service has 16777216 bytes");

  engram_placement outs[2];
  REFUSED(engram_service_allocate_batch(NULL, &wrong, 1, 0, outs), ENGRAM_E_NULL, "service is null", VALID);
  EQUAL(outs[0].status, ENGRAM_E_NULL);
  REFUSED(engram_service_allocate_batch(service, NULL, 1, 8, outs), ENGRAM_E_NULL, "concepts is null", VALID);
  REFUSED(engram_service_allocate_batch(service, NULL, 0, 0, NULL), ENGRAM_E_NULL, "concepts is null", VALID);
  REFUSED(engram_service_allocate_batch(service, &wrong, 1, ENGRAM_BATCH_ORDERED, outs), ENGRAM_E_INVALID, "unknown flags 0x2",
          "0x1");
  EQUAL(outs[0].status, ENGRAM_E_INVALID);
  REFUSED(engram_service_allocate_batch(service, &wrong, SIZE_MAX, 0, outs), ENGRAM_E_INVALID, "count is 18446744073709551615",
          "memory can hold");
  CHECK(!is_allocated(service, "wrong"));
  OK(engram_service_allocate(service, &wrong, NULL));
  REFUSED(engram_service_allocate(service, &wrong, &out), ENGRAM_E_EXISTS, "id \"wrong\" is already allocated", "deallocate it");
  refused_everywhere(ENGRAM_E_EXISTS, &out);
  OK(engram_service_close(service));
}

static void other_misuse_is_refused(void) {
  const engram_service_config config = small_config();
  service = open_service(&config);
  const engram_concept cat = concept_of("cat", "purrs");
  OK(engram_service_allocate(service, &cat, NULL));
  engram_placement out;
  char text[256];
  memset(text, 'x', sizeof text);

#define REFUSED_IDS(CALL, name)                                                                               \
  do {                                                                                                        \
    REFUSED(CALL(NULL, "cat", 3), ENGRAM_E_NULL, "service is null", VALID);                                   \
    REFUSED(CALL(service, NULL, 3), ENGRAM_E_NULL, name " is null", VALID);                                   \
    REFUSED(CALL(service, NULL, 0), ENGRAM_E_NULL, name " is null", VALID);                                   \
    REFUSED(CALL(service, "cat", 0), ENGRAM_E_INVALID, name " is 0 bytes long", AN_ID);                       \
    REFUSED(CALL(service, text, 256), ENGRAM_E_INVALID, name " is 256 bytes long", AN_ID);                    \
    REFUSED(CALL(service, "ca\xff", 3), ENGRAM_E_INVALID, name " is no UTF-8 from its byte 2", AN_ID);        \
    REFUSED(CALL(service, "dog", 3), ENGRAM_E_NOT_FOUND, "no concept with the id \"dog\"", "allocate it");    \
  } while (0)
#define UPDATE(service, id, length) (memset(&out, 0xff, sizeof out), engram_service_update(service, id, length, "new", 3, &out))
  REFUSED_IDS(UPDATE, "id");
  refused_everywhere(ENGRAM_E_NOT_FOUND, &out);
#define UPDATE_ALONE(service, id, length) engram_service_update(service, id, length, "new", 3, NULL)
  REFUSED_IDS(UPDATE_ALONE, "id");
  REFUSED(engram_service_update(service, "cat", 0, NULL, 1, NULL), ENGRAM_E_NULL, "content is null", VALID);
  REFUSED(engram_service_update(service, "cat", 3, text, (16 << 20) + 1, &out), ENGRAM_E_INVALID, "content is 16777217 bytes long",
          "at most 16777216");
  holds(service, "cat", "purrs", 5);

  uint64_t freed;
#define DEALLOCATE(service, id, length) (freed = 9, engram_service_deallocate(service, id, length, &freed))
  REFUSED_IDS(DEALLOCATE, "id");
  EQUAL(freed, 0);

  const void *bytes;
  size_t length;
  engram_pin *pin;
#define PIN(service, id, id_length)                                    \
  (bytes = text, length = 9, pin = (engram_pin *)text,                 \
   engram_service_pin(service, id, id_length, &bytes, &length, &pin))
  REFUSED_IDS(PIN, "id");
  CHECK(bytes == NULL && pin == NULL && length == 0);
  REFUSED(engram_service_pin(service, "cat", 0, NULL, &length, &pin), ENGRAM_E_NULL, "bytes is null", VALID);
  REFUSED(engram_service_pin(service, "cat", 0, &bytes, NULL, &pin), ENGRAM_E_NULL, "length is null", VALID);
  REFUSED(engram_service_pin(service, "cat", 3, &bytes, &length, NULL), ENGRAM_E_NULL, "out is null", VALID);
  REFUSED(engram_service_unpin(NULL), ENGRAM_E_NULL, "pin is null", VALID);

#define LINK_FROM(service, id, length) engram_service_link(service, id, length, "cat", 3)
#define LINK_TO(service, id, length) engram_service_link(service, "cat", 3, id, length)
  REFUSED_IDS(LINK_FROM, "from");
  REFUSED_IDS(LINK_TO, "to");
  REFUSED(engram_service_link(service, "cat", 0, NULL, 0), ENGRAM_E_NULL, "to is null", VALID);

  REFUSED(engram_service_maintain(NULL, 0), ENGRAM_E_NULL, "service is null", VALID);
  REFUSED(engram_service_close(NULL), ENGRAM_E_NULL, "service is null", VALID);
  char buffer[8] = "before";
  EQUAL(engram_service_metrics_json(NULL, buffer, sizeof buffer), 0);
  EQUAL(engram_last_error(), ENGRAM_E_NULL);
  CHECK(buffer[0] == 0 && strstr(last_message(), "service is null") != NULL);
  EQUAL(engram_service_metrics_json(NULL, NULL, 0), 0);

  /* A core failure after one of the service says its own. */
  EQUAL(engram_service_unpin(NULL), ENGRAM_E_NULL);
  CHECK(strstr(last_message(), "pin is null") != NULL);
  OK(engram_service_close(service));
}

static void first_spikes_are_those_of_the_formula(void) {
  static const struct {
    double strength;
    uint32_t ttfs_ns;
  } known[] = {{1.0, 2107210},   {0.75, 2862017},  {0.5, 4462871},         {0.25, 10216512},      {0.2, 13862944},
               {0.15, 21972246}, {0.11, 47957905}, {0.1, ENGRAM_TTFS_NONE}, {0.0, ENGRAM_TTFS_NONE}, {-0.0, ENGRAM_TTFS_NONE}};
  uint32_t ttfs = 0, last = 0;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    OK(engram_first_spike(known[i].strength, &ttfs));
    EQUAL(ttfs, known[i].ttfs_ns);
    CHECK(ttfs > last || ttfs == ENGRAM_TTFS_NONE);
    last = ttfs;
  }
  OK(engram_first_spike(100.0, &ttfs)); /* above 1 is allowed */
  CHECK(ttfs > 0 && ttfs < 2107210);
  const double no_strengths[] = {(double)NAN, (double)INFINITY, -(double)INFINITY, -0.1};
  for (size_t i = 0; i < 4; i++) {
    ttfs = 0;
    REFUSED(engram_first_spike(no_strengths[i], &ttfs), ENGRAM_E_INVALID, "strength is ", "finite and at least 0");
    EQUAL(ttfs, ENGRAM_TTFS_NONE);
  }
  REFUSED(engram_first_spike(1.0, NULL), ENGRAM_E_NULL, "ttfs_ns is null", VALID);
}

/* Callers that wait, and that are not let in in time. */
struct crowd {
  engram_service *service;
  int busy, served;
};

static void *one_of_many(void *crowd_) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static int threads = 0;
  struct crowd *const crowd = crowd_;
  pthread_mutex_lock(&lock);
  const int thread = threads++;
  pthread_mutex_unlock(&lock);
  for (int i = 0; i < 200; i++) {
    char id[32];
    snprintf(id, sizeof id, "%d-%d", thread, i);
    const engram_concept concept = concept_of(id, "of many");
    engram_placement placement;
    const engram_status status = engram_service_allocate(crowd->service, &concept, &placement);
    CHECK(status == ENGRAM_OK || (status == ENGRAM_E_BUSY && strstr(last_message(), "all 1 permits") != NULL));
    EQUAL(placement.status, status);
    if (status == ENGRAM_OK) {
      holds(crowd->service, id, "of many", 7);
    }
    pthread_mutex_lock(&lock);
    *(status == ENGRAM_OK ? &crowd->served : &crowd->busy) += 1;
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

static void threads_share_a_service(void) {
  for (uint32_t timeout_ms = 0; timeout_ms <= 10000; timeout_ms += 10000) {
    engram_service_config config = small_config();
    config.max_concurrent = 1;
    config.admission_timeout_ms = timeout_ms;
    struct crowd crowd = {open_service(&config), 0, 0};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
      EQUAL(pthread_create(&threads[i], NULL, one_of_many, &crowd), 0);
    }
    for (int i = 0; i < 4; i++) {
      EQUAL(pthread_join(threads[i], NULL), 0);
    }
    EQUAL(crowd.busy + crowd.served, 800);
    CHECK(timeout_ms == 0 || crowd.busy == 0);
    EQUAL(metric(crowd.service, NULL, "active_allocations"), crowd.served);
    OK(engram_service_close(crowd.service));
  }
}

static void metrics_are_written_as_snprintf_would(void) {
  engram_service_config config = small_config();
  engram_pool_config pools[2];
  memset(pools, 0, sizeof pools);
  pools[0].type = "thing_1", pools[0].type_length = 7, pools[0].quota_bytes = 1 << 20;
  pools[1].type = "thing-2", pools[1].type_length = 7, pools[1].quota_bytes = 1 << 20, pools[1].reserve_bytes = 64;
  config.pools = pools;
  config.pool_count = 2;
  service = open_service(&config);
  engram_concept concept = concept_of("one", "content");
  concept.type = "thing_1", concept.type_length = 7;
  OK(engram_service_allocate(service, &concept, NULL));
  concept.id = "two", concept.type = "thing-2";
  OK(engram_service_allocate(service, &concept, NULL));
  OK(engram_service_deallocate(service, "two", 3, NULL));

  char json[4096], cut[4096];
  const size_t length = engram_service_metrics_json(service, json, sizeof json);
  CHECK(length < sizeof json);
  EQUAL(strlen(json), length);
  /* How much of it is in memory is said, too, so its length may differ by some digits. */
  CHECK(engram_service_metrics_json(service, NULL, 0) + 32 > length);
  memset(cut, '?', sizeof cut);
  CHECK(engram_service_metrics_json(service, cut, 11) + 32 > length);
  CHECK(memcmp(cut, json, 10) == 0 && cut[10] == 0 && cut[11] == '?');
  printf("json:\n%s\n", json);
  OK(engram_service_close(service));
}

int main(void) {
  the_defaults_are_as_said();
  a_concept_is_stored_updated_and_freed();
  content_is_any_bytes_and_as_long_as_allowed();
  placement_follows_priority_embedding_hints_and_guidance();
  quotas_are_kept_to_the_byte_and_reserves_for_early_spikes();
  batches_are_served_each_on_its_own_or_all_or_none();
  pinned_bytes_stay_and_may_be_handed_back_on_another_thread();
  configs_out_of_range_are_refused();
  concepts_out_of_range_are_refused();
  other_misuse_is_refused();
  first_spikes_are_those_of_the_formula();
  threads_share_a_service();
  metrics_are_written_as_snprintf_would();
  return 0;
}
