// How much private memory does a worker need to read an array of the caller? Only memory added
// since the fork counts; pages shared with the caller are not private.
// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <span>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/by_hand.hpp"
#include "support/paired.hpp"

namespace fm = forkmap;
using bench::by_hand::check;

namespace {

/// Private_Dirty of this process in kB, read without heap allocations.
double private_dirty_kb() {
  std::array<char, 4096> text{};
  auto const fd = ::open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
  check(fd >= 0 && ::read(fd, text.data(), text.size() - 1) > 0, "/proc/self/smaps_rollup");
  ::close(fd);
  auto const* const line = std::strstr(text.data(), "Private_Dirty:");
  check(line != nullptr, "Private_Dirty");
  return static_cast<double>(std::strtol(line + std::strlen("Private_Dirty:"), nullptr, 10));
}

double read_all(std::span<double const> data) {
  benchmark::DoNotOptimize(std::accumulate(data.begin(), data.end(), 0.0));
  return private_dirty_kb();
}

void reading_80_mb(benchmark::State& state) {
  std::vector<double> const data(10'000'000, 0.5);
  std::vector<double> floor;
  std::vector<double> forkmap;
  for (auto _ : state) {
    bench::by_hand::shared_results<double> by_hand(2);
    bench::by_hand::in_two_processes(by_hand.next(), 2, 1,
                                     [&](std::size_t i) { by_hand.data()[i] = read_all(data); });
    floor.push_back(by_hand.data()[0]);

    state.SetIterationTime(bench::seconds_of([&] {
      std::vector<std::span<double const>> const both(2, data);
      forkmap.push_back(fm::parallel(2).map(read_all, both).front());
    }));
  }
  bench::report(state,
                {.text = "private memory of a worker that reads 80 MB of the caller (kB) / by hand",
                 .limit = 512},
                floor, forkmap);
}
BENCHMARK(reading_80_mb)->Iterations(9)->UseManualTime()->Unit(benchmark::kMillisecond);

}  // namespace
