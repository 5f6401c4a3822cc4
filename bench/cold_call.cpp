// What does a call of almost empty tasks cost? Workers are forked at the call.
// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstddef>
#include <memory>
#include <numeric>
#include <ranges>

#include <forkmap/forkmap.hpp>

#include "support/by_hand.hpp"
#include "support/paired.hpp"
#include "support/temporary_folder.hpp"

namespace fm = forkmap;

namespace {

void nothing() {}

void map_two_tasks() {
  fm::parallel(2)(std::views::iota(0, 2) |
                  std::views::transform([](int) { return fm::delayed(nothing)(); }));
}

void two_tasks(benchmark::State& state) {
  bench::time_in_turns(
      state, {.text = "cold map of 2 tasks / two bare forks and waits", .ratio_target = 1.3},
      [] { bench::by_hand::fork_and_wait(2, nothing); }, map_two_tasks);
}
BENCHMARK(two_tasks)->Iterations(501)->UseManualTime()->Unit(benchmark::kMicrosecond);

void two_tasks_with_results(benchmark::State& state) {
  bench::time_in_turns(
      state, {.text = "cold map of 2 tasks that return a double / by hand"},
      [] {
        bench::by_hand::shared_results<double> results(2);
        bench::by_hand::in_two_processes(results.next(), 2, 1, [&](std::size_t i) {
          results.data()[i] = static_cast<double>(i);
        });
        std::vector<double> const all(results.data(), results.data() + 2);
        benchmark::DoNotOptimize(all.data());
      },
      [] {
        auto const all = fm::parallel(2)(std::views::iota(0, 2) | std::views::transform([](int i) {
                                           return [i] { return static_cast<double>(i); };
                                         }));
        benchmark::DoNotOptimize(all.data());
      });
}
BENCHMARK(two_tasks_with_results)->Iterations(501)->UseManualTime()->Unit(benchmark::kMicrosecond);

/// The floor is forkmap's own call in a process without the array. Each sample is the mean of
/// several calls, because mapping and reading the array in every round takes longer than one call.
void two_tasks_beside_1_gib(benchmark::State& state) {
  constexpr std::size_t n = (std::size_t{1} << 30U) / sizeof(double);
  constexpr int calls = 10;
  bench::temporary_folder const folder;
  auto const file =
      fm::dump(std::views::iota(std::size_t{0}, n) |
                   std::views::transform([](std::size_t i) { return static_cast<double>(i); }),
               folder / "1_gib.npy");
  auto const sample = [] {
    return bench::seconds_of([] {
             for (int i = 0; i != calls; ++i) map_two_tasks();
           }) /
           calls;
  };
  bench::in_turns(state,
                  {.text = "cold map of 2 tasks with 1 GiB memory-mapped and read / with nothing",
                   .ratio_target = 1.4},
                  sample, [&] {
                    auto const array = fm::load<double>(file);
                    benchmark::DoNotOptimize(std::accumulate(array.begin(), array.end(), 0.0));
                    return sample();
                  });
}
BENCHMARK(two_tasks_beside_1_gib)->Iterations(11)->UseManualTime()->Unit(benchmark::kMicrosecond);

}  // namespace
