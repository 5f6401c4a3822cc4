// What do results cost that are not stored inline and are deserialized in the caller?
// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <ranges>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/by_hand.hpp"
#include "support/paired.hpp"

namespace fm = forkmap;

namespace {

constexpr std::size_t n_tasks = 100'000;

/// 20 characters: more than a std::string holds without a heap allocation.
std::string name_of(std::size_t index) {
  auto const digits = std::to_string(index);
  return "result number " + std::string(6 - digits.size(), '0') + digits;
}

void map_names() {
  auto const results = fm::parallel(2).map(name_of, std::views::iota(std::size_t{0}, n_tasks));
  benchmark::DoNotOptimize(results.data());
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
      map_names);
}
BENCHMARK(strings)->Iterations(51)->UseManualTime()->Unit(benchmark::kMicrosecond);

/// The floor has the length of the strings built in, and stores each in an array of that size.
void strings_vs_hand(benchmark::State& state) {
  using characters = std::array<char, 20>;
  bench::time_in_turns(
      state, {.text = "10^5 tasks returning a string of 20 / forks, places of 20 bytes, a vector"},
      [] {
        bench::by_hand::shared_results<characters> shared(n_tasks);
        bench::by_hand::in_two_processes(shared.next(), n_tasks, 64, [&](std::size_t i) {
          auto const name = name_of(i);
          std::ranges::copy(name, shared.data()[i].begin());
        });
        std::vector<std::string> results;
        results.reserve(n_tasks);
        for (std::size_t i = 0; i != n_tasks; ++i) {
          results.emplace_back(shared.data()[i].data(), shared.data()[i].size());
        }
        benchmark::DoNotOptimize(results.data());
      },
      map_names);
}
BENCHMARK(strings_vs_hand)->Iterations(51)->UseManualTime()->Unit(benchmark::kMicrosecond);

}  // namespace
