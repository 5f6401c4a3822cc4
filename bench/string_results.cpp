// What do results cost that do not fit a slot and have to be rebuilt in the caller?
#include <benchmark/benchmark.h>

#include <cstddef>
#include <ranges>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/paired.hpp"

namespace fm = forkmap;

namespace {

constexpr std::size_t n_tasks = 100'000;

/// 20 characters: more than a std::string holds without a heap.
std::string name_of(std::size_t index) {
  auto const digits = std::to_string(index);
  return "result number " + std::string(6 - digits.size(), '0') + digits;
}

void strings(benchmark::State& state) {
  bench::time_in_turns(
      state,
      {.text = "10^5 tasks returning a string of 20 / sequential into a vector", .ratio_target = 4},
      [] {
        std::vector<std::string> results;
        results.reserve(n_tasks);
        for (std::size_t i = 0; i != n_tasks; ++i) results.push_back(name_of(i));
        benchmark::DoNotOptimize(results.data());
      },
      [] {
        auto const results =
            fm::parallel(2).map(name_of, std::views::iota(std::size_t{0}, n_tasks));
        benchmark::DoNotOptimize(results.data());
      });
}
BENCHMARK(strings)->Iterations(51)->UseManualTime()->Unit(benchmark::kMicrosecond);

}  // namespace
