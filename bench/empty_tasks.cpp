// What does a task cost if there are very many and each does nothing? A million tasks on 2 workers
// that are forked at the call.
// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>

#include <cstdint>
#include <ranges>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/by_hand.hpp"
#include "support/paired.hpp"

namespace fm = forkmap;

namespace {

constexpr std::uint64_t n_tasks = 1'000'000;
constexpr std::size_t chunk = 64;  // larger chunks do not make the floor faster

/// The work of a task, here and in the floors. It must not be optimised away.
void touch(std::uint64_t index) { benchmark::DoNotOptimize(index); }

void without_result(benchmark::State& state) {
  bench::time_in_turns(
      state,
      {.text = "10^6 empty tasks, 2 workers / forks and a shared counter in chunks of 64",
       .ratio_target = 1.2},
      [] {
        bench::by_hand::shared_results<char> results(0);
        bench::by_hand::in_two_processes(results.next(), n_tasks, chunk, touch);
      },
      [] {
        fm::parallel(2)(std::views::iota(std::uint64_t{0}, n_tasks) |
                        std::views::transform([](std::uint64_t i) { return [i] { touch(i); }; }));
      });
}
BENCHMARK(without_result)->Iterations(101)->UseManualTime()->Unit(benchmark::kMicrosecond);

void map_indices() {
  auto const results =
      fm::parallel(2)(std::views::iota(std::uint64_t{0}, n_tasks) |
                      std::views::transform([](std::uint64_t i) { return [i] { return i; }; }));
  benchmark::DoNotOptimize(results.data());
}

void indices_into(bench::by_hand::shared_results<std::uint64_t> const& results) {
  bench::by_hand::in_two_processes(results.next(), n_tasks, chunk,
                                   [&](std::uint64_t i) { results.data()[i] = i; });
}

void with_index(benchmark::State& state) {
  bench::time_in_turns(
      state,
      {.text = "10^6 tasks returning 8 bytes / the same floor, results into a vector",
       .ratio_target = 1.2},
      [] {
        bench::by_hand::shared_results<std::uint64_t> shared(n_tasks);
        indices_into(shared);
        std::vector<std::uint64_t> const results(shared.data(), shared.data() + n_tasks);
        benchmark::DoNotOptimize(results.data());
      },
      map_indices);
}
BENCHMARK(with_index)->Iterations(51)->UseManualTime()->Unit(benchmark::kMicrosecond);

void with_index_vs_shared_memory(benchmark::State& state) {
  bench::time_in_turns(
      state, {.text = "10^6 tasks returning 8 bytes / the same floor, results left where they are"},
      [] {
        bench::by_hand::shared_results<std::uint64_t> shared(n_tasks);
        indices_into(shared);
        benchmark::DoNotOptimize(shared.data());
      },
      map_indices);
}
BENCHMARK(with_index_vs_shared_memory)
    ->Iterations(51)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
