// How fast does an array get into a file? 80 MB, to a new file and in the place of an old one.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
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

/// A temporary file, allocated, written at once and renamed: as complete as what dump() promises.
void write_by_hand(std::vector<double>& data, std::string const& file) {
  std::array<char, 128> header{};
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
                      [&](auto const& file) { write_by_hand(data, file.native()); });
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
