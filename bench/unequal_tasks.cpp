// Do few, long tasks of unequal length keep all workers busy to the end?
// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include <forkmap/forkmap.hpp>

#include "support/paired.hpp"

namespace fm = forkmap;

namespace {

constexpr std::array milliseconds{30, 100, 10, 80, 60, 20, 90, 50, 70, 40};

/// The ideal list schedule: each free worker takes the next task, without overhead.
/// Returns: its length in seconds.
double list_schedule() {
  std::array<int, 2> free_at{};
  for (auto const length : milliseconds) *std::ranges::min_element(free_at) += length;
  return std::ranges::max(free_at) / 1e3;
}

void ten_tasks(benchmark::State& state) {
  bench::in_turns(
      state, {.text = "10 tasks of 10 to 100 ms, 2 workers / the ideal list schedule"},
      list_schedule, [] {
        return bench::seconds_of([] {
          fm::parallel(2).map(
              [](int length) { std::this_thread::sleep_for(std::chrono::milliseconds(length)); },
              milliseconds);
        });
      });
}
BENCHMARK(ten_tasks)->Iterations(9)->UseManualTime()->Unit(benchmark::kMillisecond);

}  // namespace
