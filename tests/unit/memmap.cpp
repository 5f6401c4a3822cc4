// SPDX-License-Identifier: MIT
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <numeric>
#include <ranges>
#include <span>
#include <system_error>
#include <vector>

#include <forkmap/dump.hpp>
#include <forkmap/load.hpp>
#include <forkmap/memmap.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

static_assert(std::ranges::contiguous_range<fm::memmap<double>>);
static_assert(std::ranges::sized_range<fm::memmap<double const>>);
static_assert(std::is_nothrow_copy_constructible_v<fm::memmap<double>>);
static_assert(std::convertible_to<fm::memmap<int>, fm::memmap<int const>>);
static_assert(!std::convertible_to<fm::memmap<int const>, fm::memmap<int>>);
static_assert(!std::convertible_to<fm::memmap<float>, fm::memmap<double>>);
static_assert(std::convertible_to<fm::memmap<int>, std::span<int>>);
static_assert(std::convertible_to<fm::memmap<int>&, std::span<int>>);
static_assert(std::convertible_to<fm::memmap<int> const&, std::span<int const>>);
static_assert(std::convertible_to<fm::memmap<int const>, std::span<int const>>);
static_assert(!std::convertible_to<fm::memmap<int const>, std::span<int>>);

namespace {

double sum(std::span<double const> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}
void fill(std::span<double> values, double value) {
  std::fill(values.begin(), values.end(), value);
}

}  // namespace

TEST_CASE("memmap: create makes an .npy file of zeros, and writes reach the file", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  int const rows = 3;
  auto const array = fm::memmap<double>::create(file, {rows, 4});
  CHECK(sum(array) == 0.0);
  CHECK(array.dims() == fm::shape{3, 4});
  CHECK(array.path() == file);
  CHECK(array.offset() == 128);
  array(2, 3) = 5.0;
  array.flush();
  CHECK(fm::load<double>(file)(2, 3) == 5.0);
  CHECK(std::filesystem::file_size(file) == 128 + 96);
  CHECK(support::names_in(folder.path()) == 1);
}

TEST_CASE("memmap: create makes a raw file under any other name", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.bin";
  auto const array = fm::memmap<int>::create(file, {5}, fm::order::fortran);
  CHECK(array.layout() == fm::order::fortran);
  array[4] = 1;
  CHECK(array.offset() == 0);
  CHECK(std::filesystem::file_size(file) == 20);
  auto const again = fm::memmap<int const>::open_raw(file, {3}, fm::read_only, 8);
  CHECK(again[2] == 1);
  CHECK(again.offset() == 8);
  for (auto const* name : {"a.npz", "a.joblib", "a.pkl"}) {
    CHECK_THROWS_AS(fm::memmap<int>::create(folder.path() / name, {5}), std::invalid_argument);
  }
}

TEST_CASE("memmap: create does not change existing mappings of the old file", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  auto const old = fm::memmap<int>::create(file, {100000});
  old[99999] = 7;
  auto const fresh = fm::memmap<int>::create(file, {10});
  CHECK(old[99999] == 7);
  CHECK(fresh[9] == 0);
  CHECK(fm::load<int>(file).size() == 10);
  CHECK(support::names_in(folder.path()) == 1);
}

TEST_CASE("memmap: create may be empty or have no axes", "[array]") {
  support::temporary_directory const folder;
  auto const empty = fm::memmap<int>::create(folder.path() / "e.npy", {0, 3});
  CHECK(empty.empty());
  empty.flush();
  CHECK(fm::load<int>(folder.path() / "e.npy", fm::read_write).dims() == fm::shape{0, 3});
  CHECK(fm::memmap<int>::create(folder.path() / "e.bin", {0}).empty());
  auto const scalar = fm::memmap<int>::create(folder.path() / "s.npy", {});
  scalar() = 3;
  CHECK(fm::load<int>(folder.path() / "s.npy")() == 3);
}

TEST_CASE("memmap: a full disk is an error and not a signal", "[array]") {
  support::temporary_directory const folder("/dev/shm");
  auto const file = folder.path() / "huge.npy";
  try {
    fm::memmap<double>::create(file, {1LL << 40});
    FAIL("8 TiB of shared memory");
  } catch (std::system_error const& error) {
    CHECK_THAT(error.what(), ContainsSubstring(file.native()));
  }
  CHECK(support::names_in(folder.path()) == 0);
}

TEST_CASE("memmap: open_raw refuses missing files and bytes", "[array]") {
  support::temporary_directory const folder;
  auto const file = support::write_bytes(folder.path() / "raw", std::string(40, 'x'));
  using raw = fm::memmap<double const>;
  CHECK(raw::open_raw(file, {5}, fm::read_only).size() == 5);
  CHECK_THROWS_AS(raw::open_raw(file, {6}, fm::read_only), fm::format_error);
  CHECK_THROWS_AS(raw::open_raw(file, {5}, fm::read_only, 8), fm::format_error);
  CHECK_THROWS_AS(raw::open_raw(file, {0}, fm::read_only, 48), fm::format_error);
  CHECK_THROWS_WITH(raw::open_raw(file, {6}, fm::read_only),
                    ContainsSubstring("48 bytes") && ContainsSubstring("has 40"));
  CHECK_THROWS_AS(raw::open_raw(file, {1}, fm::read_only, 4), std::invalid_argument);
  CHECK_THROWS_AS(raw::open_raw(folder.path() / "none", {1}, fm::read_only), std::system_error);
  CHECK_THROWS_AS(raw::open_raw(file, {1LL << 62}, fm::read_only), std::invalid_argument);
}

TEST_CASE("memmap: the mode decides who sees writes", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "raw";
  fm::memmap<int>::create(file, {4})[0] = 1;
  auto const shared = fm::memmap<int>::open_raw(file, {4}, fm::read_write);
  auto const own = fm::memmap<int>::open_raw(file, {4}, fm::copy_on_write);
  shared[1] = 2;
  own[2] = 3;
  own.flush();
  auto const seen = fm::memmap<int const>::open_raw(file, {4}, fm::read_only);
  CHECK(seen[0] == 1);
  CHECK(seen[1] == 2);
  CHECK(seen[2] == 0);
}

TEST_CASE("memmap: a parent sees the writes of its child", "[array]") {
  support::temporary_directory const folder;
  auto const array = fm::memmap<double>::create(folder.path() / "a.npy", {1000});
  auto const child = ::fork();
  if (child == 0) {
    fill(array, 2.0);
    ::_exit(0);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(sum(array) == 2000.0);
}

TEST_CASE("memmap: copies share one mapping and outlive each other", "[array]") {
  support::temporary_directory const folder;
  fm::memmap<int> kept;
  CHECK(kept.empty());
  CHECK(kept.path().empty());
  {
    auto array = fm::memmap<int>::create(folder.path() / "a.npy", {3});
    array[1] = 4;
    kept = array;
    CHECK(kept.data() == array.data());
    auto const moved = std::move(array);
    CHECK(moved.dims() == array.dims());  // NOLINT(bugprone-use-after-move): moves are copies
  }
  CHECK(kept[1] == 4);
  fm::memmap<int const> const readable = kept;
  CHECK(readable.data() == kept.data());
  CHECK(readable.path() == kept.path());
}

TEST_CASE("memmap: converts to a span", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  auto array = fm::memmap<double>::create(file, {4});
  fill(array, 1.0);
  fill(fm::load<double>(file, fm::read_write), 2.0);
  CHECK(sum(array) == 8.0);
  CHECK(sum(fm::load<double>(file)) == 8.0);
  std::span<double> const window = array[{1, 3}];
  CHECK(window.data() == array.data() + 1);
  CHECK(window.size() == 2);
  CHECK_THROWS_AS((array[{1, 5}]), std::out_of_range);
}

TEST_CASE("memmap: keeps no descriptor open", "[array]") {
  support::temporary_directory const folder;
  auto const before = support::names_in("/proc/self/fd");
  auto const array = fm::memmap<double>::create(folder.path() / "a.npy", {4});
  auto const again = fm::load<double>(folder.path() / "a.npy");
  CHECK(support::names_in("/proc/self/fd") == before);
}

TEST_CASE("memmap: an index out of range is an error that names it", "[array]") {
  CHECK_THROWS_WITH(fm::memmap<int>::create("/no/such/folder/a.npy", {1}),
                    ContainsSubstring("/no/such/folder/a.npy"));
  CHECK_THROWS_AS(fm::memmap<int>::create("/no/such/folder/a.npy", {1}), std::system_error);
  CHECK_THROWS_AS(fm::memmap<int>::create("/tmp", {1}), std::system_error);
  CHECK_THROWS_AS(fm::memmap<int>::create("", {1}), std::system_error);
}

TEST_CASE("memmap: a description opens the same file, and refuses a replacement", "[array]") {
  using access = fm::detail::memmap_access;
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  auto const array = fm::memmap<double>::create(file, {2, 3}, fm::order::fortran);
  auto const reference = access::describe(array);
  CHECK(reference.path == file);
  auto const again = access::reopen<double>(reference);
  again(1, 2) = 6.0;
  CHECK(array(1, 2) == 6.0);
  CHECK(again.layout() == fm::order::fortran);

  auto const readable = access::reopen<double const>(access::describe(fm::load<double>(file)));
  CHECK(readable(1, 2) == 6.0);

  fm::dump(std::vector<double>{1.0}, file);
  try {
    access::reopen<double>(reference);
    FAIL("the replacement was opened as if it were the described file");
  } catch (std::system_error const& error) {
    CHECK(error.code().value() == ESTALE);
    CHECK_THAT(error.what(), ContainsSubstring(file.native()));
  }
  std::filesystem::remove(file);
  CHECK_THROWS_AS(access::reopen<double>(reference), std::system_error);
  CHECK(access::reopen<double>(access::describe(fm::memmap<double>())).empty());
}

TEST_CASE("memmap: a description of a relative path is valid after a change of directory",
          "[array]") {
  using access = fm::detail::memmap_access;
  support::temporary_directory const folder;
  auto const before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  auto const array = fm::memmap<int>::create("a.npy", {1});
  std::filesystem::current_path(before);
  array[0] = 5;
  CHECK(array.path() == "a.npy");
  CHECK(access::reopen<int>(access::describe(array))[0] == 5);
}
