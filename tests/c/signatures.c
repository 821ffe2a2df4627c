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

/* Unsigned constants are unsigned: their negative is large. */
SAME(flags_are_unsigned, -ENGRAM_ARENA_PREFAULT > 0 && -ENGRAM_BATCH_ATOMIC > 0 && -ENGRAM_TTFS_NONE > 0);

/* A status is an int32_t, and the handles are structs of their names. */
int32_t *types(engram_status *status, struct engram_arena *arena, struct engram_column *column);
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
engram_status engram_arena_verify(const engram_arena *arena);
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
size_t engram_column_alloc_batch(engram_column *column, size_t size, size_t align, uint32_t ttfs_ns, size_t count, void **out);
engram_status engram_column_reset(engram_column *column);
engram_status engram_column_walk(engram_column *column, int (*visit)(void *user, void *block, size_t usable), void *user);

engram_status engram_column_limit(engram_arena *arena, uint32_t index, size_t bytes);

engram_status engram_maintain(engram_arena *arena, uint64_t budget_ns);

engram_status engram_metrics_get(const engram_arena *arena, engram_metrics *out, size_t struct_size);
size_t engram_metrics_json(const engram_arena *arena, char *buffer, size_t capacity);
size_t engram_metrics_openmetrics(const engram_arena *arena, char *buffer, size_t capacity);
