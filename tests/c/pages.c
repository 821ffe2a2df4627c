/* Where the system's pages are larger than an arena's nothing is opened, and nothing made. What the library asks the system for this it asks
   the program here. */
#include "check.h"

#include <unistd.h>

static long page_bytes = 4096;

long sysconf(int name) { return name == _SC_PAGESIZE ? page_bytes : -1; }

static void expect(engram_status is) {
  EQUAL(is, page_bytes > 4096 ? ENGRAM_E_UNSUPPORTED : ENGRAM_OK);
  if (is != ENGRAM_OK) {
    char bytes[32];
    snprintf(bytes, sizeof bytes, "pages have %ld bytes", page_bytes);
    CHECK(strstr(last_message(), bytes) != NULL && strstr(last_message(), "4096") != NULL);
  }
}

static void open_and_close(const engram_arena_config *config) {
  engram_arena *arena = (engram_arena *)&arena;
  expect(engram_arena_open(config, &arena));
  CHECK((arena == NULL) == (page_bytes > 4096));
  OK(engram_arena_close(arena));
}

/* The argument: a path for a region file. */
int main(int count, char **arguments) {
  CHECK(count == 2);
  remove(arguments[1]);
  const long sizes[] = {65536, 16384, 4096};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    page_bytes = sizes[i];
    open_and_close(NULL);

    engram_arena_config config;
    OK(engram_arena_config_init(&config, sizeof config));
    config.capacity = 2 << 20;
    config.columns = 1;
    config.path = arguments[1];
    open_and_close(&config);
    FILE *const file = fopen(arguments[1], "rb");
    CHECK((file == NULL) == (page_bytes > 4096));
    if (file != NULL) {
      fclose(file);
    }

    config.path = NULL;
    config.memory_size = engram_arena_size(&config);
    void *const all = calloc(1, config.memory_size + 4096);
    CHECK(all != NULL);
    config.memory = (char *)all + (4096 - (uintptr_t)all % 4096);
    open_and_close(&config);
    free(all);

    engram_service_config asked;
    OK(engram_service_config_init(&asked, sizeof asked));
    engram_service *service = NULL;
    expect(engram_service_open(&asked, &service));
    if (service != NULL) {
      OK(engram_service_close(service));
    }
  }
  remove(arguments[1]);
  return 0;
}
