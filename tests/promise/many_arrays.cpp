// Many arrays at once, and arrays larger than the memory that a worker may use.
// SPDX-License-Identifier: MIT
#include <sys/statvfs.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <ranges>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/sanitizers.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;

namespace {

std::ptrdiff_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

std::ptrdiff_t mappings() {
  std::ifstream maps("/proc/self/maps");
  return std::count(std::istreambuf_iterator<char>(maps), {}, '\n');
}

/// A field of /proc/self/status in KiB, such as "VmHWM:".
long status_kib(std::string const& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field)) return std::stol(line.substr(field.size()));
  }
  return -1;
}

}  // namespace

TEST_CASE("arrays: ten thousand loaded arrays use one mapping each and no descriptor", "[arrays]") {
  support::temporary_directory const folder;
  constexpr std::size_t n = 10'000;
  auto const file = [&](std::size_t i) { return folder.path() / (std::to_string(i) + ".npy"); };
  // A file for each array. Copies of one file are the fastest way to make them.
  auto content = support::file_bytes(fm::dump(std::vector{0, 1, 2}, file(0)));
  auto const data = fm::inspect(file(0)).offset;
  for (std::size_t i = 0; i != n; ++i) {
    auto const number = static_cast<int>(i);
    std::memcpy(content.data() + data, &number, sizeof number);
    support::write_bytes(file(i), content);
  }

  auto const descriptors = open_descriptors();
  auto const before = mappings();
  std::vector<fm::memmap<int const>> all;
  for (std::size_t i = 0; i != n; ++i) all.push_back(fm::load<int>(file(i)));
  REQUIRE(open_descriptors() == descriptors);
  auto const with_all = mappings();
  // The vector and the allocator may add a few mappings.
  REQUIRE(with_all - before >= static_cast<std::ptrdiff_t>(n));
  if (!support::thread_sanitizer) {  // TSan adds mappings of its shadow memory
    REQUIRE(with_all - before < static_cast<std::ptrdiff_t>(n) + 20);
  }

  // Views and copies add no mappings.
  auto const copies = all;
  std::vector<fm::memmap<int const>> rows;
  for (auto const& array : all) rows.push_back(array.row(0));
  REQUIRE(mappings() < with_all + 20);
  REQUIRE(rows[n - 1]() == static_cast<int>(n) - 1);

  // Workers can read all of them.
  auto const sums = fm::parallel(2).map(
      [&](std::size_t i) { return std::accumulate(all[i].begin(), all[i].end(), 0); },
      std::views::iota(std::size_t{0}, n));
  for (std::size_t i = 0; i != n; ++i) REQUIRE(sums[i] == static_cast<int>(i) + 3);
}

TEST_CASE("arrays: workers write a large array in parts and hold only a few parts in memory",
          "[arrays]") {
  support::temporary_directory const folder;
  // As large as a small disk allows, and many times the part that a worker may hold in memory.
  struct statvfs disk{};
  REQUIRE(::statvfs(folder.path().c_str(), &disk) == 0);
  auto const room = static_cast<std::size_t>(disk.f_bavail) * disk.f_frsize;
  auto const bytes = std::min(std::size_t{256} << 20U, room / 8);
  constexpr std::size_t part_bytes = std::size_t{4} << 20U;
  REQUIRE(bytes >= 16 * part_bytes);
  auto const out =
      fm::memmap<std::size_t>::create(folder.path() / "out.npy", {bytes / sizeof(std::size_t)});
  auto const slices = out.page_slices(bytes / part_bytes);
  REQUIRE(slices.size() == bytes / part_bytes);
  auto const before = status_kib("VmRSS:");
  auto const peaks =
      fm::parallel(2)(slices | std::views::transform([&](fm::slice mine) {
                        return [&out, mine] {
                          {
                            auto const only_mine = out.guard(mine);
                            std::iota(out.data() + mine.start, out.data() + mine.stop, mine.start);
                          }
                          out.advise(fm::advice::dont_need, mine);
                          return status_kib("VmHWM:");
                        };
                      }));
  // Each worker writes half of the array, but holds only a few parts in memory.
  for (auto const kib : peaks) {
    if (support::thread_sanitizer) continue;  // TSan uses four bytes of shadow for each byte
    REQUIRE(kib - before < static_cast<long>(6 * part_bytes / 1024));
  }
  for (std::size_t i = 0; i < out.size(); i += 511) {
    if (out[i] != i) REQUIRE(out[i] == i);
  }
}
