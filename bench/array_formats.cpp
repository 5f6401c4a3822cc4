// What do the formats of several arrays cost? Arrays of 80 MB in .npz and joblib files, many small
// ones in one archive.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/by_hand.hpp"
#include "support/paired.hpp"
#include "support/temporary_folder.hpp"

namespace fm = forkmap;
using bench::by_hand::check;

namespace {

constexpr std::size_t doubles = 10'000'000;

/// Maps a file whose header needs no reading.
void map_by_hand(char const* file) {
  auto const fd = ::open(file, O_RDONLY | O_CLOEXEC);
  struct stat status{};
  check(fd >= 0 && ::fstat(fd, &status) == 0, "open");
  std::array<char, 128> header;
  check(::pread(fd, header.data(), header.size(), 0) == 128, "pread");
  auto const bytes = static_cast<std::size_t>(status.st_size);
  auto* const memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  check(memory != MAP_FAILED, "mmap");
  benchmark::DoNotOptimize(memory);
  ::munmap(memory, bytes);
  ::close(fd);
}

template <class Call> double seconds_per_call(int calls, Call&& call) {
  return bench::seconds_of([&] {
           for (int i = 0; i != calls; ++i) call();
         }) /
         calls;
}

/// load() of the array called "b" of two.
void load_one_of_two(benchmark::State& state, char const* name, bench::question const& asked) {
  bench::temporary_folder const folder;
  std::vector<double> const data(doubles, 0.5);
  auto const file = fm::dump(fm::named("a", data, "b", data), folder / name);
  bench::in_turns(
      state, asked, [&] { return seconds_per_call(100, [&] { map_by_hand(file.c_str()); }); },
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

/// A temporary file, allocated, written at once and renamed.
void write_by_hand(std::vector<double>& data, std::string const& file) {
  std::array<char, 512> header{};
  auto const bytes = data.size() * sizeof(double);
  auto const temporary = file + ".tmp";
  auto const fd = ::open(temporary.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
  check(fd >= 0, "open");
  check(::posix_fallocate(fd, 0, static_cast<off_t>(header.size() + bytes)) == 0, "fallocate");
  std::array<iovec, 2> const parts{{{header.data(), header.size()}, {data.data(), bytes}}};
  check(::writev(fd, parts.data(), 2) == static_cast<ssize_t>(header.size() + bytes), "writev");
  check(::close(fd) == 0, "close");
  check(std::rename(temporary.c_str(), file.c_str()) == 0, "rename");
}

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
                      [&](auto const& file) { write_by_hand(data, file.native()); });
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

/// All arrays of an archive, at once; per array.
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
      [&] { return seconds_per_call(n, [&] { map_by_hand(file.c_str()); }); },
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
