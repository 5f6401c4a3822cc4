// What does mapping the file of an array cost?
// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>

#include <cstddef>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/by_hand.hpp"
#include "support/paired.hpp"
#include "support/temporary_folder.hpp"

namespace fm = forkmap;
using bench::by_hand::map_and_unmap;

namespace {

/// One sample is the mean of many calls, because one call is too short to be timed.
template <class Call> double seconds_per_call(Call&& call) {
  constexpr int calls = 100;
  return bench::seconds_of([&] {
           for (int i = 0; i != calls; ++i) call();
         }) /
         calls;
}

void load_80_mb(benchmark::State& state) {
  bench::temporary_folder const folder;
  auto const file = fm::dump(std::vector<double>(10'000'000, 0.5), folder / "data.npy");
  bench::in_turns(
      state,
      {.text = "load of 80 MB / open, fstat, pread, mmap, munmap, close", .ratio_target = 1.5},
      [&] { return seconds_per_call([&] { map_and_unmap(file.c_str()); }); },
      [&] {
        return seconds_per_call([&] {
          auto const array = fm::load<double>(file);
          benchmark::DoNotOptimize(array.data());
        });
      });
}
BENCHMARK(load_80_mb)->Iterations(101)->UseManualTime()->Unit(benchmark::kMicrosecond);

}  // namespace
