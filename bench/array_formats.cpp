// What do the formats of several arrays cost? Arrays of 80 MB in .npz and joblib files, many small
// ones in one archive.
// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/by_hand.hpp"
#include "support/paired.hpp"
#include "support/temporary_folder.hpp"

namespace fm = forkmap;
using bench::by_hand::map_and_unmap;
using bench::by_hand::write_and_rename;

namespace {

constexpr std::size_t doubles = 10'000'000;

template <class Call> double seconds_per_call(int calls, Call&& call) {
  return bench::seconds_of([&] {
           for (int i = 0; i != calls; ++i) call();
         }) /
         calls;
}

/// load() of the array "b" from a file of two.
void load_one_of_two(benchmark::State& state, char const* name, bench::question const& asked) {
  bench::temporary_folder const folder;
  std::vector<double> const data(doubles, 0.5);
  auto const file = fm::dump(fm::named("a", data, "b", data), folder / name);
  bench::in_turns(
      state, asked, [&] { return seconds_per_call(100, [&] { map_and_unmap(file.c_str()); }); },
      [&] {
        return seconds_per_call(100, [&] {
          auto const array = fm::load<double>(file, "b");
          benchmark::DoNotOptimize(array.data());
        });
      });
}
BENCHMARK_CAPTURE(load_one_of_two, npz, "two.npz",
                  {.text = "load of 80 MB, one of two in .npz / open, fstat, pread, mmap, munmap, "
                           "close"})
    ->Iterations(31)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(load_one_of_two, joblib, "two.joblib",
                  {.text = "load of 80 MB, one of two in a joblib file / the same"})
    ->Iterations(31)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

void dump_80_mb(benchmark::State& state, char const* name, bench::question const& asked) {
  std::vector<double> data(doubles, 0.5);
  bench::temporary_folder const folder;
  auto const sample = [&](std::filesystem::path const& file, auto&& write) {
    auto const seconds = bench::seconds_of([&] { write(file); });
    std::filesystem::remove(file);
    return seconds;
  };
  bench::in_turns(
      state, asked,
      [&] {
        return sample(folder / "by_hand",
                      [&](auto const& file) { write_and_rename(data, file.native()); });
      },
      [&] { return sample(folder / name, [&](auto const& file) { fm::dump(data, file); }); });
}
BENCHMARK_CAPTURE(dump_80_mb, joblib, "a.joblib",
                  {.text = "dump of 80 MB to a joblib file / fallocate, writev and rename",
                   .ratio_target = 1.05})
    ->Iterations(21)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(dump_80_mb, npz, "a.npz",
                  {.text = "dump of 80 MB to .npz, with its checksum / the same"})
    ->Iterations(21)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

/// Loads all arrays of an archive at once. The result is the time per array.
void load_many(benchmark::State& state) {
  constexpr int n = 10'000;
  bench::temporary_folder const folder;
  fm::detail::content_value all;
  all.what = fm::detail::content_value::kind::dict;
  std::vector<double> const data(64, 0.5);
  auto const content = fm::detail::make_content(data, folder / "many.npz", {});
  for (int i = 0; i != n; ++i) {
    all.keys.push_back("array" + std::to_string(i));
    all.items.push_back(fm::detail::array_value(*content));
  }
  auto const file = folder / "many.npz";
  fm::detail::dump_content(file, all, {});
  bench::in_turns(
      state,
      {.text = "10^4 arrays of one .npz file, mapped at once, each / open, fstat, pread, mmap, "
               "munmap, close"},
      [&] { return seconds_per_call(n, [&] { map_and_unmap(file.c_str()); }); },
      [&] {
        return bench::seconds_of([&] {
                 fm::archive const opened(file);
                 std::vector<fm::memmap<double const>> arrays;
                 for (auto const& name : opened.names())
                   arrays.push_back(opened.load<double>(name));
                 benchmark::DoNotOptimize(arrays.data());
               }) /
               n;
      });
}
BENCHMARK(load_many)->Iterations(11)->UseManualTime()->Unit(benchmark::kMicrosecond);

}  // namespace
