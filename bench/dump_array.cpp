// How long does dump() take? 80 MB, to a new file and replacing an old one.
// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>

#include <filesystem>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/by_hand.hpp"
#include "support/paired.hpp"
#include "support/temporary_folder.hpp"

namespace fm = forkmap;
using bench::by_hand::write_and_rename;

namespace {

void dump_80_mb(benchmark::State& state, bool replaces, bench::question const& asked) {
  std::vector<double> data(10'000'000, 0.5);
  bench::temporary_folder const folder;
  auto const sample = [&](std::filesystem::path const& file, auto&& write) {
    auto const seconds = bench::seconds_of([&] { write(file); });
    if (!replaces) std::filesystem::remove(file);
    return seconds;
  };
  bench::in_turns(
      state, asked,
      [&] {
        return sample(folder / "by_hand.npy",
                      [&](auto const& file) { write_and_rename(data, file.native()); });
      },
      [&] {
        return sample(folder / "forkmap.npy", [&](auto const& file) { fm::dump(data, file); });
      });
}
BENCHMARK_CAPTURE(dump_80_mb, new_file, false,
                  {.text = "dump of 80 MB, a new file / fallocate, writev and rename",
                   .ratio_target = 1.05})
    ->Iterations(31)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(dump_80_mb, replacing, true,
                  {.text = "dump of 80 MB, replacing / fallocate, writev and rename",
                   .ratio_target = 1.05})
    ->Iterations(31)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
