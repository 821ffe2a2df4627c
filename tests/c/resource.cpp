// A std::pmr::memory_resource over the C face: standard containers in an arena, one column for each resource.
#include "engram.h"

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory_resource>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

void check(bool holds, const char *what) {
  if (!holds) {
    char text[256];
    engram_last_error_message(text, sizeof text);
    std::fprintf(stderr, "%s does not hold\n  last error: %s\n", what, text);
    std::exit(1);
  }
}
#define CHECK(condition) check((condition), #condition)

class ColumnResource final : public std::pmr::memory_resource {
 public:
  ColumnResource(engram_arena *arena, std::uint32_t column, std::uint32_t ttfs_ns) : arena_(arena), ttfs_ns_(ttfs_ns) {
    if (engram_column_acquire(arena, column, &column_) != ENGRAM_OK) {
      throw std::bad_alloc();
    }
  }
  ~ColumnResource() override { engram_column_release(column_); }
  ColumnResource(const ColumnResource &) = delete;
  ColumnResource &operator=(const ColumnResource &) = delete;

 private:
  void *do_allocate(std::size_t bytes, std::size_t align) override {
    void *const block = engram_column_alloc(column_, bytes == 0 ? 1 : bytes, align, ttfs_ns_);
    if (block == nullptr) {
      throw std::bad_alloc();
    }
    return block;
  }
  void do_deallocate(void *block, std::size_t bytes, std::size_t) override {
    CHECK(engram_usable_size(arena_, block) >= bytes);
    CHECK(engram_column_free(column_, block) == ENGRAM_OK);
  }
  // Any column frees the blocks of any other of its arena.
  bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override {
    const auto *const resource = dynamic_cast<const ColumnResource *>(&other);
    return resource != nullptr && resource->arena_ == arena_;
  }

  engram_arena *arena_;
  engram_column *column_ = nullptr;
  std::uint32_t ttfs_ns_;
};

engram_metrics metrics_of(const engram_arena *arena) {
  engram_metrics metrics;
  CHECK(engram_metrics_get(arena, &metrics, sizeof metrics) == ENGRAM_OK);
  return metrics;
}

struct alignas(256) Synapses {
  float weights[96];
};

}  // namespace

int main() {
  engram_arena_config config;
  CHECK(engram_arena_config_init(&config, sizeof config) == ENGRAM_OK);
  config.capacity = std::size_t{16} << 20;
  config.columns = 4;
  engram_arena *arena = nullptr;
  CHECK(engram_arena_open(&config, &arena) == ENGRAM_OK);
  {
    ColumnResource early(arena, 0, 2'107'210);
    ColumnResource late(arena, 1, ENGRAM_TTFS_NONE);
    CHECK(early == late && early != *std::pmr::new_delete_resource());

    std::pmr::unordered_map<std::pmr::string, std::pmr::vector<int>> concepts(&early);
    for (int i = 0; i < 5000; i++) {
      auto &links = concepts[std::pmr::string("a concept with a name of some length ", &early) + std::to_string(i).c_str()];
      for (int k = 0; k < i % 50; k++) {
        links.push_back(i * k);
      }
    }
    CHECK(concepts.size() == 5000);
    for (int i = 0; i < 5000; i += 2) {
      concepts.erase(std::pmr::string("a concept with a name of some length ", &late) + std::to_string(i).c_str());
    }
    for (const auto &[name, links] : concepts) {
      const int i = std::atoi(name.c_str() + name.rfind(' '));
      CHECK(i % 2 == 1 && links.size() == static_cast<std::size_t>(i % 50) && (links.empty() || links.back() == i * (i % 50 - 1)));
      CHECK(engram_arena_contains(arena, &name) && (links.empty() || engram_arena_contains(arena, links.data())));
    }

    std::pmr::vector<Synapses> synapses(100, &late);
    CHECK(reinterpret_cast<std::uintptr_t>(synapses.data()) % 256 == 0);
    synapses.resize(1000);
    CHECK(reinterpret_cast<std::uintptr_t>(synapses.data()) % 256 == 0);

    // One column's block, freed through another.
    std::pmr::vector<int> moved = [&late] { return std::pmr::vector<int>(1000, 7, &late); }();
    void *const block = early.allocate(100, 16);
    late.deallocate(block, 100, 16);
    CHECK(moved[999] == 7 && metrics_of(arena).remote_frees == 1);

    bool refused = false;
    try {
      std::pmr::vector<char> too_much(std::size_t{17} << 20, &early);
    } catch (const std::bad_alloc &) {
      refused = true;
    }
    CHECK(refused && engram_last_error() == ENGRAM_E_NO_MEMORY);
    CHECK(metrics_of(arena).bytes_live > 0 && engram_arena_close(arena) == ENGRAM_E_BUSY);
  }
  CHECK(metrics_of(arena).bytes_live == 0 && metrics_of(arena).misuse == 0);
  CHECK(engram_arena_verify(arena) == ENGRAM_OK && engram_arena_close(arena) == ENGRAM_OK);
}
