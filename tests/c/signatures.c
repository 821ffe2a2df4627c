/* Every function of the C face is declared again, with the signature that programs are written against: a compiler
 * refuses a second declaration that differs. Types, fields and values are checked beside them. Nothing here runs. */
#include "engram.h"

#define SAME(name, condition) typedef char same_##name[(condition) ? 1 : -1]

#define VALUE(name, value) typedef char value_of_##name[(name) == (value) ? 1 : -1]
VALUE(ENGRAM_TTFS_NONE, UINT32_MAX);
VALUE(ENGRAM_COLUMN_ANY, UINT32_MAX);
VALUE(ENGRAM_OK, 0);
VALUE(ENGRAM_MORE, 1);
VALUE(ENGRAM_RECOVERED, 2);
VALUE(ENGRAM_E_NULL, -1);
VALUE(ENGRAM_E_INVALID, -2);
VALUE(ENGRAM_E_NO_MEMORY, -3);
VALUE(ENGRAM_E_QUOTA, -4);
VALUE(ENGRAM_E_BUSY, -5);
VALUE(ENGRAM_E_NOT_FOUND, -6);
VALUE(ENGRAM_E_OS, -7);
VALUE(ENGRAM_E_FORMAT, -8);
VALUE(ENGRAM_E_BAD_POINTER, -9);
VALUE(ENGRAM_E_DOUBLE_FREE, -10);
VALUE(ENGRAM_E_UNSUPPORTED, -11);
VALUE(ENGRAM_E_EXISTS, -12);
VALUE(ENGRAM_E_INTERNAL, -13);
VALUE(ENGRAM_ARENA_PREFAULT, 1u);
VALUE(ENGRAM_ARENA_LOCK, 2u);
VALUE(ENGRAM_ARENA_HUGE_PAGES, 4u);
VALUE(ENGRAM_ARENA_CREATE_NEW, 8u);
VALUE(ENGRAM_ARENA_ABORT, 16u);
VALUE(ENGRAM_ARENA_ZERO_FREED, 32u);
VALUE(ENGRAM_ARENA_NO_ZONES, 64u);
VALUE(ENGRAM_ARENA_SPARSE, 128u);
VALUE(ENGRAM_BATCH_ATOMIC, 1u);
VALUE(ENGRAM_BATCH_ORDERED, 2u);
VALUE(ENGRAM_PRIORITY_LOW, 0u);
VALUE(ENGRAM_PRIORITY_NORMAL, 1u);
VALUE(ENGRAM_PRIORITY_HIGH, 2u);
VALUE(ENGRAM_PRIORITY_CRITICAL, 3u);
VALUE(ENGRAM_STRATEGY_HIGH_COMPLEXITY, 0u);
VALUE(ENGRAM_STRATEGY_HIGH_PERFORMANCE, 1u);
VALUE(ENGRAM_STRATEGY_RESOURCE_OPTIMIZED, 2u);
VALUE(ENGRAM_STRATEGY_BALANCED, 3u);

/* Unsigned constants are unsigned: their negative is large. */
SAME(flags_are_unsigned, -ENGRAM_ARENA_PREFAULT > 0 && -ENGRAM_BATCH_ATOMIC > 0 && -ENGRAM_TTFS_NONE > 0);
SAME(choices_are_unsigned, -ENGRAM_PRIORITY_NORMAL > 0 && -ENGRAM_PRIORITY_CRITICAL > 0 && -ENGRAM_STRATEGY_BALANCED > 0);
SAME(choices_from_0_are_unsigned, ENGRAM_PRIORITY_LOW - 1 > 0 && ENGRAM_STRATEGY_HIGH_COMPLEXITY - 1 > 0);

/* A status is an int32_t, and the handles are structs of their names. */
int32_t *types(engram_status *status, struct engram_arena *arena, struct engram_column *column);
int32_t *types_of_the_service(engram_status *status, struct engram_service *service, struct engram_pin *pin);
int32_t *types_of_the_service(engram_status *status, struct engram_service *service, struct engram_pin *pin) {
  engram_service *const same_service = service;
  engram_pin *const same_pin = pin;
  return same_service != NULL && same_pin != NULL ? status : NULL;
}
int32_t *types(engram_status *status, struct engram_arena *arena, struct engram_column *column) {
  engram_arena *const same_arena = arena;
  engram_column *const same_column = column;
  return same_arena != NULL && same_column != NULL ? status : NULL;
}

/* The fields in their order, each of its type: pointers to others would not fit. */
const engram_arena_config *fields_of_a_config(engram_arena_config *config);
const engram_arena_config *fields_of_a_config(engram_arena_config *config) {
  uint32_t *const numbers[] = {&config->struct_size, &config->flags, &config->columns, &config->reserved0, config->reserved};
  size_t *const sizes[] = {&config->capacity, &config->memory_size};
  const char **const path = &config->path;
  void **const memory = &config->memory;
  return numbers[0] != NULL && sizes[0] != NULL && path != NULL && memory != NULL ? config : NULL;
}
struct config_in_order {
  uint32_t struct_size, flags;
  const char *path;
  size_t capacity;
  uint32_t columns, reserved0;
  void *memory;
  size_t memory_size;
  uint32_t reserved[8];
};
#define PLACE(type, order, field) SAME(type##_##field, offsetof(type, field) == offsetof(struct order, field))
PLACE(engram_arena_config, config_in_order, struct_size);
PLACE(engram_arena_config, config_in_order, flags);
PLACE(engram_arena_config, config_in_order, path);
PLACE(engram_arena_config, config_in_order, capacity);
PLACE(engram_arena_config, config_in_order, columns);
PLACE(engram_arena_config, config_in_order, reserved0);
PLACE(engram_arena_config, config_in_order, memory);
PLACE(engram_arena_config, config_in_order, memory_size);
PLACE(engram_arena_config, config_in_order, reserved);
SAME(config_size, sizeof(engram_arena_config) == sizeof(struct config_in_order));

struct request_in_order {
  size_t size, align;
  uint32_t column, ttfs_ns;
};
PLACE(engram_request, request_in_order, size);
PLACE(engram_request, request_in_order, align);
PLACE(engram_request, request_in_order, column);
PLACE(engram_request, request_in_order, ttfs_ns);
SAME(request_size, sizeof(engram_request) == sizeof(struct request_in_order));
const engram_request *fields_of_a_request(engram_request *request);
const engram_request *fields_of_a_request(engram_request *request) {
  size_t *const sizes[] = {&request->size, &request->align};
  uint32_t *const numbers[] = {&request->column, &request->ttfs_ns};
  return sizes[0] != NULL && numbers[0] != NULL ? request : NULL;
}

/* Metrics grow at the end only: what came before stays where it was. */
struct metrics_in_order {
  uint32_t struct_size, columns;
  uint64_t bytes_capacity, bytes_committed, bytes_live, bytes_peak;
  uint64_t allocs, frees, remote_frees, failed, misuse, retries, batches;
};
PLACE(engram_metrics, metrics_in_order, struct_size);
PLACE(engram_metrics, metrics_in_order, columns);
PLACE(engram_metrics, metrics_in_order, bytes_capacity);
PLACE(engram_metrics, metrics_in_order, bytes_committed);
PLACE(engram_metrics, metrics_in_order, bytes_live);
PLACE(engram_metrics, metrics_in_order, bytes_peak);
PLACE(engram_metrics, metrics_in_order, allocs);
PLACE(engram_metrics, metrics_in_order, frees);
PLACE(engram_metrics, metrics_in_order, remote_frees);
PLACE(engram_metrics, metrics_in_order, failed);
PLACE(engram_metrics, metrics_in_order, misuse);
PLACE(engram_metrics, metrics_in_order, retries);
PLACE(engram_metrics, metrics_in_order, batches);
SAME(metrics_size, sizeof(engram_metrics) >= sizeof(struct metrics_in_order));
const engram_metrics *fields_of_metrics(engram_metrics *metrics);
const engram_metrics *fields_of_metrics(engram_metrics *metrics) {
  uint32_t *const numbers[] = {&metrics->struct_size, &metrics->columns};
  uint64_t *const counts[] = {&metrics->bytes_capacity, &metrics->bytes_committed, &metrics->bytes_live, &metrics->bytes_peak,
                              &metrics->allocs,         &metrics->frees,           &metrics->remote_frees,
                              &metrics->failed,         &metrics->misuse,          &metrics->retries,
                              &metrics->batches};
  return numbers[0] != NULL && counts[0] != NULL ? metrics : NULL;
}

struct pool_in_order {
  const char *type;
  size_t type_length;
  uint64_t initial_bytes, quota_bytes, reserve_bytes;
  uint32_t reserve_ttfs_ns;
  uint32_t reserved;
};
PLACE(engram_pool_config, pool_in_order, type);
PLACE(engram_pool_config, pool_in_order, type_length);
PLACE(engram_pool_config, pool_in_order, initial_bytes);
PLACE(engram_pool_config, pool_in_order, quota_bytes);
PLACE(engram_pool_config, pool_in_order, reserve_bytes);
PLACE(engram_pool_config, pool_in_order, reserve_ttfs_ns);
PLACE(engram_pool_config, pool_in_order, reserved);
SAME(pool_size, sizeof(engram_pool_config) == sizeof(struct pool_in_order));
const engram_pool_config *fields_of_a_pool(engram_pool_config *pool);
const engram_pool_config *fields_of_a_pool(engram_pool_config *pool) {
  const char **const type = &pool->type;
  size_t *const size = &pool->type_length;
  uint64_t *const bytes[] = {&pool->initial_bytes, &pool->quota_bytes, &pool->reserve_bytes};
  uint32_t *const numbers[] = {&pool->reserve_ttfs_ns, &pool->reserved};
  return type != NULL && size != NULL && bytes[0] != NULL && numbers[0] != NULL ? pool : NULL;
}

struct service_in_order {
  uint32_t struct_size, columns;
  const char *path;
  uint64_t capacity;
  const engram_pool_config *pools;
  size_t pool_count;
  uint32_t cache_entries, cache_ttl_ms, max_concurrent, admission_timeout_ms, guidance, reserved[7];
  uint64_t seed;
};
PLACE(engram_service_config, service_in_order, struct_size);
PLACE(engram_service_config, service_in_order, columns);
PLACE(engram_service_config, service_in_order, path);
PLACE(engram_service_config, service_in_order, capacity);
PLACE(engram_service_config, service_in_order, pools);
PLACE(engram_service_config, service_in_order, pool_count);
PLACE(engram_service_config, service_in_order, cache_entries);
PLACE(engram_service_config, service_in_order, cache_ttl_ms);
PLACE(engram_service_config, service_in_order, max_concurrent);
PLACE(engram_service_config, service_in_order, admission_timeout_ms);
PLACE(engram_service_config, service_in_order, guidance);
PLACE(engram_service_config, service_in_order, reserved);
PLACE(engram_service_config, service_in_order, seed);
SAME(service_size, sizeof(engram_service_config) == sizeof(struct service_in_order));
const engram_service_config *fields_of_a_service(engram_service_config *config);
const engram_service_config *fields_of_a_service(engram_service_config *config) {
  uint32_t *const numbers[] = {&config->struct_size,    &config->columns,        &config->cache_entries,
                               &config->cache_ttl_ms,   &config->max_concurrent, &config->admission_timeout_ms,
                               &config->guidance,       config->reserved};
  const char **const path = &config->path;
  uint64_t *const wide[] = {&config->capacity, &config->seed};
  const engram_pool_config **const pools = &config->pools;
  size_t *const count = &config->pool_count;
  return numbers[0] != NULL && path != NULL && wide[0] != NULL && pools != NULL && count != NULL ? config : NULL;
}

struct concept_in_order {
  const char *id;
  size_t id_length;
  const char *type;
  size_t type_length;
  const void *content;
  size_t content_length;
  const float *embedding;
  size_t embedding_length;
  const char *const *hints;
  const size_t *hint_lengths;
  size_t hint_count;
  size_t memory_size;
  float expected_accesses_per_s;
  uint32_t priority;
};
PLACE(engram_concept, concept_in_order, id);
PLACE(engram_concept, concept_in_order, id_length);
PLACE(engram_concept, concept_in_order, type);
PLACE(engram_concept, concept_in_order, type_length);
PLACE(engram_concept, concept_in_order, content);
PLACE(engram_concept, concept_in_order, content_length);
PLACE(engram_concept, concept_in_order, embedding);
PLACE(engram_concept, concept_in_order, embedding_length);
PLACE(engram_concept, concept_in_order, hints);
PLACE(engram_concept, concept_in_order, hint_lengths);
PLACE(engram_concept, concept_in_order, hint_count);
PLACE(engram_concept, concept_in_order, memory_size);
PLACE(engram_concept, concept_in_order, expected_accesses_per_s);
PLACE(engram_concept, concept_in_order, priority);
SAME(concept_size, sizeof(engram_concept) == sizeof(struct concept_in_order));
const engram_concept *fields_of_a_concept(engram_concept *concept);
const engram_concept *fields_of_a_concept(engram_concept *concept) {
  const char **const texts[] = {&concept->id, &concept->type};
  const void **const content = &concept->content;
  const float **const embedding = &concept->embedding;
  const char *const **const hints = &concept->hints;
  const size_t **const lengths = &concept->hint_lengths;
  size_t *const sizes[] = {&concept->id_length,        &concept->type_length, &concept->content_length,
                           &concept->embedding_length, &concept->hint_count,  &concept->memory_size};
  float *const accesses = &concept->expected_accesses_per_s;
  uint32_t *const priority = &concept->priority;
  const bool all = texts[0] != NULL && content != NULL && embedding != NULL && hints != NULL && lengths != NULL;
  return all && sizes[0] != NULL && accesses != NULL && priority != NULL ? concept : NULL;
}

struct placement_in_order {
  uint64_t offset, size, version;
  uint32_t column, ttfs_ns, strategy;
  float confidence;
  uint32_t cache_hit, guided;
  uint64_t time_ns;
  engram_status status;
};
PLACE(engram_placement, placement_in_order, offset);
PLACE(engram_placement, placement_in_order, size);
PLACE(engram_placement, placement_in_order, version);
PLACE(engram_placement, placement_in_order, column);
PLACE(engram_placement, placement_in_order, ttfs_ns);
PLACE(engram_placement, placement_in_order, strategy);
PLACE(engram_placement, placement_in_order, confidence);
PLACE(engram_placement, placement_in_order, cache_hit);
PLACE(engram_placement, placement_in_order, guided);
PLACE(engram_placement, placement_in_order, time_ns);
PLACE(engram_placement, placement_in_order, status);
SAME(placement_size, sizeof(engram_placement) == sizeof(struct placement_in_order));
const engram_placement *fields_of_a_placement(engram_placement *placement);
const engram_placement *fields_of_a_placement(engram_placement *placement) {
  uint64_t *const wide[] = {&placement->offset, &placement->size, &placement->version, &placement->time_ns};
  uint32_t *const numbers[] = {&placement->column, &placement->ttfs_ns, &placement->strategy, &placement->cache_hit,
                               &placement->guided};
  float *const confidence = &placement->confidence;
  engram_status *const status = &placement->status;
  return wide[0] != NULL && numbers[0] != NULL && confidence != NULL && status != NULL ? placement : NULL;
}

uint32_t engram_version(void);
const char *engram_version_string(void);
const char *engram_status_name(engram_status s);
engram_status engram_last_error(void);
size_t engram_last_error_message(char *buffer, size_t capacity);

engram_status engram_arena_config_init(engram_arena_config *config, size_t struct_size);
engram_status engram_arena_open(const engram_arena_config *config, engram_arena **out);
size_t engram_arena_size(const engram_arena_config *config);
engram_status engram_arena_close(engram_arena *arena);
engram_status engram_arena_sync(engram_arena *arena);
engram_status engram_arena_snapshot(engram_arena *arena, const char *path);
engram_status engram_arena_verify(const engram_arena *arena);
uint64_t engram_root(const engram_arena *arena, uint32_t slot);
engram_status engram_set_root(engram_arena *arena, uint32_t slot, uint64_t offset);
void *engram_alloc_publish(engram_arena *arena, uint32_t column, size_t size, size_t align, uint32_t ttfs_ns, uint64_t *where);
engram_status engram_free_unpublish(engram_arena *arena, uint64_t *where);
bool engram_arena_contains(const engram_arena *arena, const void *p);
size_t engram_arena_offset(const engram_arena *arena, const void *p);
void *engram_arena_at(const engram_arena *arena, size_t offset);

void *engram_alloc(engram_arena *arena, uint32_t column, size_t size, size_t align, uint32_t ttfs_ns);
void *engram_alloc_zeroed(engram_arena *arena, uint32_t column, size_t size, size_t align, uint32_t ttfs_ns);
void *engram_realloc(engram_arena *arena, void *p, size_t size, uint32_t ttfs_ns);
engram_status engram_free(engram_arena *arena, void *p);
size_t engram_usable_size(const engram_arena *arena, const void *p);
size_t engram_good_size(const engram_arena *arena, size_t size);

engram_status engram_alloc_batch(engram_arena *arena, const engram_request *requests, size_t count, uint32_t flags, void **out,
                                 size_t *served);
engram_status engram_free_batch(engram_arena *arena, void *const *pointers, size_t count);

engram_status engram_column_acquire(engram_arena *arena, uint32_t index, engram_column **out);
engram_status engram_column_release(engram_column *column);
uint32_t engram_column_index(const engram_column *column);
void *engram_column_alloc(engram_column *column, size_t size, size_t align, uint32_t ttfs_ns);
engram_status engram_column_free(engram_column *column, void *p);
void *engram_column_realloc(engram_column *column, void *p, size_t size, uint32_t ttfs_ns);
size_t engram_column_alloc_batch(engram_column *column, size_t size, size_t align, uint32_t ttfs_ns, size_t count, void **out);
engram_status engram_column_reset(engram_column *column);
engram_status engram_column_walk(engram_column *column, int (*visit)(void *user, void *block, size_t usable), void *user);

engram_status engram_column_limit(engram_arena *arena, uint32_t index, size_t bytes);

engram_status engram_maintain(engram_arena *arena, uint64_t budget_ns);

engram_status engram_metrics_get(const engram_arena *arena, engram_metrics *out, size_t struct_size);
size_t engram_metrics_json(const engram_arena *arena, char *buffer, size_t capacity);
size_t engram_metrics_openmetrics(const engram_arena *arena, char *buffer, size_t capacity);

engram_status engram_service_config_init(engram_service_config *config, size_t struct_size);
engram_status engram_service_open(const engram_service_config *config, engram_service **out);
engram_status engram_service_close(engram_service *service);
engram_status engram_service_allocate(engram_service *service, const engram_concept *concept, engram_placement *out);
engram_status engram_service_allocate_batch(engram_service *service, const engram_concept *concepts, size_t count, uint32_t flags,
                                            engram_placement *out);
engram_status engram_service_update(engram_service *service, const char *id, size_t id_length, const void *content,
                                    size_t content_length, engram_placement *out);
engram_status engram_service_deallocate(engram_service *service, const char *id, size_t id_length, uint64_t *freed_bytes);
engram_status engram_service_pin(engram_service *service, const char *id, size_t id_length, const void **bytes, size_t *length,
                                 engram_pin **out);
engram_status engram_service_unpin(engram_pin *pin);
engram_status engram_service_link(engram_service *service, const char *from, size_t from_length, const char *to, size_t to_length);
engram_status engram_service_maintain(engram_service *service, uint64_t budget_ns);
size_t engram_service_metrics_json(const engram_service *service, char *buffer, size_t capacity);
engram_status engram_first_spike(double strength, uint32_t *ttfs_ns);
