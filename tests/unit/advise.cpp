// Advice to the kernel.
// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <forkmap/advise.hpp>
#include <forkmap/dump.hpp>
#include <forkmap/load.hpp>
#include <forkmap/memmap.hpp>
#include <forkmap/shared_array.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;

namespace {

/// The kernel's flags of the mapping at an address: "rd wr sh mr mw me ms sr".
std::string flags_at(void const* address) {
  std::ifstream maps("/proc/self/smaps");
  auto const wanted = reinterpret_cast<std::uintptr_t>(address);
  bool here = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    char dash = 0;
    std::istringstream in(line);
    if (in >> std::hex >> begin >> dash >> end && dash == '-')
      here = begin <= wanted && wanted < end;
    if (here && line.starts_with("VmFlags:")) return line + ' ';
  }
  return {};
}

/// The number of pages of an array in the page tables of this process.
std::size_t resident(void const* address, std::size_t bytes) {
  auto const page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  auto const first = reinterpret_cast<std::uintptr_t>(address) / page;
  std::vector<std::uint64_t> entries((bytes + page - 1) / page);
  // pagemap can be read only in whole entries. A std::ifstream may read parts of entries.
  int const map = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  auto const length = entries.size() * sizeof(std::uint64_t);
  REQUIRE(::pread(map, entries.data(), length, static_cast<off_t>(first * sizeof(std::uint64_t))) ==
          static_cast<ssize_t>(length));
  ::close(map);
  std::size_t there = 0;
  for (auto const entry : entries) there += entry >> 63U;
  return there;
}

/// Whether the kernel was built with transparent huge pages.
bool kernel_has_huge_pages() {
  auto* const page = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  bool const has_them = ::madvise(page, 4096, MADV_HUGEPAGE) == 0;
  ::munmap(page, 4096);
  return has_them;
}

}  // namespace

TEST_CASE("advise: the kernel gets the expected order of access", "[advise]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector<double>(100'000, 1), folder.path() / "a.npy");
  auto const array = fm::load<double>(file);
  CHECK(array.advise(fm::advice::sequential));
  CHECK(flags_at(array.data()).find(" sr ") != std::string::npos);
  CHECK(array.advise(fm::advice::random));
  CHECK(flags_at(array.data()).find(" rr ") != std::string::npos);
  CHECK(array.advise(fm::advice::normal));
  CHECK(flags_at(array.data()).find(" rr ") == std::string::npos);
  CHECK(array.advise(fm::advice::will_need));
  // Advice for a window applies to every page that the window overlaps.
  CHECK(array.advise(fm::advice::random, {50'000, 50'001}));
  CHECK(flags_at(array.data()).find(" rr ") == std::string::npos);
  CHECK(flags_at(array.data() + 50'000).find(" rr ") != std::string::npos);
  CHECK(flags_at(array.data() + 52'000).find(" rr ") == std::string::npos);
  CHECK(array[fm::slice{99'999, 100'000}][0] == 1);
}

TEST_CASE("advise: dont_need releases pages and keeps their data", "[advise]") {
  support::temporary_directory const folder;
  auto const array = fm::memmap<double>::create(folder.path() / "a.npy", {100'000});
  fm::shared_array<double> const shared({100'000});
  for (auto const& each : {array[fm::slice{0, 100'000}], shared[fm::slice{0, 100'000}]}) {
    std::fill(each.begin(), each.end(), 3);
  }
  CHECK(resident(array.data(), array.size() * sizeof(double)) > 100);
  CHECK(array.advise(fm::advice::dont_need));
  CHECK(shared.advise(fm::advice::dont_need));
  CHECK(resident(array.data(), array.size() * sizeof(double)) == 0);
  CHECK(resident(shared.data(), shared.size() * sizeof(double)) == 0);
  CHECK(array[99'999] == 3);
  CHECK(shared[99'999] == 3);
}

TEST_CASE("advise: the end of a guard releases the pages of its window, except for copy_on_write",
          "[advise]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  auto const array = fm::memmap<double>::create(file, {100'000});
  auto const bytes = array.size() * sizeof(double);
  {
    auto const guard = array.guard();
    std::fill(array.begin(), array.end(), 3);
    CHECK(resident(array.data(), bytes) > 100);
  }
  CHECK(resident(array.data(), bytes) == 0);
  CHECK(array[99'999] == 3);
  auto const own = fm::load<double>(file, fm::copy_on_write);
  {
    auto const guard = own.guard();
    std::fill(own.begin(), own.end(), 4);
  }
  CHECK(own[50'000] == 4);
}

TEST_CASE("advise: dont_need keeps what was written with copy_on_write", "[advise]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector<int>(10'000, 1), folder.path() / "a.npy");
  auto const own = fm::load<int>(file, fm::copy_on_write);
  own[5000] = 2;
  CHECK(!own.advise(fm::advice::dont_need));
  CHECK(!own.rows({0, 9000}).advise(fm::advice::dont_need));
  CHECK(own[5000] == 2);
  CHECK(own.advise(fm::advice::will_need));
}

TEST_CASE("advise: for other memory, advice applies to the pages that lie wholly inside",
          "[advise]") {
  auto const page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  // Mapped separately, so that no other memory is in the same mapping.
  auto* const all = static_cast<std::byte*>(
      ::mmap(nullptr, 64 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  REQUIRE(all != MAP_FAILED);
  std::fill(all, all + 64 * page, std::byte{7});
  std::span const part(all + 100, 10 * page);
  CHECK(fm::advise(part, fm::advice::random));
  CHECK(flags_at(all).find(" rr ") == std::string::npos);  // only partly inside
  CHECK(flags_at(all + page).find(" rr ") != std::string::npos);
  CHECK(flags_at(all + 9 * page).find(" rr ") != std::string::npos);
  CHECK(flags_at(all + 10 * page).find(" rr ") == std::string::npos);
  CHECK(fm::advise(part, fm::advice::normal));
  CHECK(flags_at(all + page).find(" rr ") == std::string::npos);
  CHECK(fm::advise(part, fm::advice::huge_pages) == kernel_has_huge_pages());
  CHECK((flags_at(all + page).find(" hg ") != std::string::npos) == kernel_has_huge_pages());
  CHECK(!fm::advise(part, fm::advice::dont_need));  // the data would be lost
  CHECK(std::all_of(all, all + 64 * page, [](std::byte each) { return each == std::byte{7}; }));
  CHECK(fm::advise(std::span(all + 100, 50), fm::advice::random));  // contains no whole page
  CHECK(flags_at(all).find(" rr ") == std::string::npos);
  CHECK(fm::advise(std::span<int const, 0>(), fm::advice::huge_pages));
  ::munmap(all, 64 * page);
}

TEST_CASE("advise: advice that the kernel does not support is not an error", "[advise]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector<int>(10'000, 1), folder.path() / "a.npy");
  auto const array = fm::load<int>(file);
  // The advice changes only the speed.
  CHECK(array.advise(fm::advice::huge_pages) == kernel_has_huge_pages());
  CHECK(array[9999] == 1);
  CHECK(fm::memmap<int>().advise(fm::advice::huge_pages));
  CHECK(array.advise(fm::advice::random, {10'000, 10'000}));
  CHECK_THROWS_AS(array.advise(fm::advice::random, {0, 10'001}), std::out_of_range);
}
