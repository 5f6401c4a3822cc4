// What does it cost to map an array's file?
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/by_hand.hpp"
#include "support/paired.hpp"
#include "support/temporary_folder.hpp"

namespace fm = forkmap;
using bench::by_hand::check;

namespace {

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

/// One sample is the mean of many calls: one is too short to be timed.
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
      [&] { return seconds_per_call([&] { map_by_hand(file.c_str()); }); },
      [&] {
        return seconds_per_call([&] {
          auto const array = fm::load<double>(file);
          benchmark::DoNotOptimize(array.data());
        });
      });
}
BENCHMARK(load_80_mb)->Iterations(101)->UseManualTime()->Unit(benchmark::kMicrosecond);

}  // namespace
