// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <deque>
#include <filesystem>
#include <list>
#include <map>
#include <ranges>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <forkmap/dump.hpp>
#include <forkmap/inspect.hpp>
#include <forkmap/load.hpp>
#include <forkmap/shared_array.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

static_assert(fm::array_like<std::vector<double>>);
static_assert(fm::array_like<std::vector<bool>>);
static_assert(fm::array_like<std::list<int>>);
static_assert(fm::array_like<std::span<float const>>);
static_assert(fm::array_like<int[3]>);
static_assert(fm::array_like<fm::memmap<double const>>);
static_assert(fm::array_like<fm::owned_array<double>>);
static_assert(!fm::array_like<std::vector<std::string>>);
static_assert(!fm::array_like<std::vector<std::vector<double>>>);
static_assert(!fm::array_like<std::map<int, int>>);
static_assert(!fm::array_like<double>);

namespace {

unsigned mode_of(std::filesystem::path const& file) {
  struct stat status{};
  REQUIRE(::stat(file.c_str(), &status) == 0);
  return status.st_mode & 07777U;
}

}  // namespace

TEST_CASE("dump: accepts every contiguous range", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  auto const holds = [&](auto... values) {
    auto const array = fm::load<int>(file);
    CHECK(std::vector<int>(array.begin(), array.end()) == std::vector<int>{values...});
    CHECK(array.dims() == fm::shape{sizeof...(values)});
  };
  CHECK(fm::dump(std::vector{1, 2, 3}, file) == file);
  holds(1, 2, 3);
  fm::dump(std::array{4, 5}, file);
  holds(4, 5);
  int const plain[] = {6, 7, 8};
  fm::dump(plain, file);
  holds(6, 7, 8);
  fm::dump(std::span(plain).first(2), file);
  holds(6, 7);
  fm::dump(std::vector<int>{}, file);
  holds();
  fm::shared_array<int> const shared(fm::shape{2});
  fm::dump(shared, file);
  holds(0, 0);
  CHECK(support::names_in(folder.path()) == 1);
}

TEST_CASE("dump: copies ranges that are not contiguous", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  std::vector<bool> bits(600000);
  for (std::size_t i = 0; i < bits.size(); i += 3) bits[i] = true;
  fm::dump(bits, file);
  auto const loaded = fm::load<bool>(file);
  CHECK(std::ranges::equal(loaded, bits));

  std::deque<double> deque(100001, 1.5);
  fm::dump(deque, file);
  CHECK(std::ranges::equal(fm::load<double>(file), deque));

  fm::dump(std::views::iota(0, 1000) | std::views::transform([](int i) { return i * i; }), file);
  CHECK(fm::load<int>(file)[999] == 998001);
  fm::dump(std::list<int>{}, file);
  CHECK(fm::load<int>(file).empty());
}

TEST_CASE("dump: a range that throws keeps the old file", "[array]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1, 2}, folder.path() / "a.npy");
  auto const bad = std::views::iota(0, 100000) | std::views::transform([](int i) {
                     return i < 99999 ? i : throw std::runtime_error("the last one");
                   });
  CHECK_THROWS_WITH(fm::dump(bad, file), "the last one");
  CHECK(fm::load<int>(file)[1] == 2);
  CHECK(support::names_in(folder.path()) == 1);
}

TEST_CASE("dump: dims and layout come from the options or the array itself", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  std::vector<double> const values{0, 1, 2, 3, 4, 5};
  fm::dump(values, file, {.dims = {2, 3}, .layout = fm::order::fortran});
  auto const array = fm::load<double>(file);
  CHECK(array(1, 0) == 1.0);
  CHECK(array(0, 1) == 2.0);

  auto const again = folder.path() / "b.npy";
  for (auto const& options : {fm::dump_options{}, fm::dump_options{.dims = {2, 3}}}) {
    fm::dump(array, again, options);
    CHECK(support::file_bytes(again) == support::file_bytes(file));
  }
  fm::dump(array, again, {.dims = {6}});
  CHECK(fm::inspect(again).dims == fm::shape{6});
  CHECK(fm::inspect(again).layout == fm::order::c);
  fm::dump(values, again, {.layout = fm::order::fortran});
  CHECK(fm::inspect(again).layout == fm::order::c);  // NumPy reports order c for a single axis

  fm::shared_array<int> const rows({2, 3});
  CHECK_THROWS_AS(fm::dump(rows, again, {.layout = fm::order::fortran}), std::invalid_argument);
}

TEST_CASE("dump: refuses dims that do not match the number of elements", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  std::vector<double> const values(10);
  CHECK_THROWS_AS(fm::dump(values, file, {.dims = {3, 4}}), std::invalid_argument);
  CHECK_THROWS_WITH(fm::dump(values, file, {.dims = {3, 4}}),
                    ContainsSubstring("12 elements") && ContainsSubstring("10"));
  CHECK_THROWS_AS(fm::dump(values, file, {.dims = fm::shape::scalar()}), std::invalid_argument);
  CHECK_THROWS_AS(fm::dump(values, file, {.dims = {1LL << 40, 1LL << 40}}), std::invalid_argument);
  CHECK(support::names_in(folder.path()) == 0);
  fm::dump(std::vector{2.5}, file, {.dims = fm::shape::scalar()});
  CHECK(fm::load<double>(file).dims().rank() == 0);
  fm::dump(std::vector{2.5}, file, {.dims = {}});
  CHECK(fm::load<double>(file).dims() == fm::shape{1});
}

TEST_CASE("dump: writes .npy under any name, except with the suffix of another format", "[array]") {
  support::temporary_directory const folder;
  std::vector<int> const values{1};
  fm::dump(values, folder.path() / "a.data");
  CHECK(fm::inspect(folder.path() / "a.data").format == "npy");
  for (auto const* name : {"a.joblib", "a.pkl"}) {
    CHECK(fm::inspect(fm::dump(values, folder.path() / name)).format == "joblib");
  }
  CHECK(support::names_in(folder.path()) == 3);
}

TEST_CASE("dump: mappings of the old file stay valid, even if they are the array being written",
          "[array]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1, 2, 3}, folder.path() / "a.npy");
  auto const old = fm::load<int>(file);
  fm::dump(std::vector{9}, file);
  CHECK(old[2] == 3);
  fm::dump(old, file);
  CHECK(fm::load<int>(file)[2] == 3);
}

TEST_CASE("dump: a new file has mode 0666 less the umask, an old file keeps its mode", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  auto const before = ::umask(027);
  fm::dump(std::vector{1}, file);
  ::umask(before);
  CHECK(mode_of(file) == 0640);
  REQUIRE(::chmod(file.c_str(), 0600) == 0);
  fm::dump(std::vector{2}, file);
  CHECK(mode_of(file) == 0600);
}

TEST_CASE("dump: a symbolic link is followed, even a dangling one", "[array]") {
  support::temporary_directory const folder;
  std::filesystem::create_directory(folder.path() / "there");
  auto const link = folder.path() / "link.npy";
  std::filesystem::create_symlink("there/second", link);
  std::filesystem::create_symlink("target.npy", folder.path() / "there/second");
  for (int const value : {1, 2}) {
    fm::dump(std::vector{value}, link);
    CHECK(std::filesystem::is_symlink(link));
    CHECK(fm::load<int>(folder.path() / "there/target.npy")[0] == value);
  }
  std::filesystem::create_symlink("loop", folder.path() / "loop");
  CHECK_THROWS_AS(fm::dump(std::vector{1}, folder.path() / "loop"), std::system_error);
}

TEST_CASE("dump: a file that is not a regular file is not replaced", "[array]") {
  support::temporary_directory const folder;
  auto const fifo = folder.path() / "fifo.npy";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  std::vector<int> const values{1};
  CHECK_THROWS_WITH(fm::dump(values, fifo), ContainsSubstring("a FIFO"));
  CHECK_THROWS_WITH(fm::dump(values, "/dev/null"), ContainsSubstring("a device"));
  CHECK_THROWS_AS(fm::dump(values, folder.path()), std::system_error);
  CHECK_THROWS_AS(fm::dump(values, folder.path() / ""), std::system_error);
  CHECK_THROWS_AS(fm::dump(values, folder.path() / "none/a.npy"), std::system_error);
  CHECK_THROWS_AS(fm::dump(values, fifo / "a.npy"), std::system_error);
  CHECK_THROWS_AS(fm::dump(values, ""), std::system_error);
  CHECK(std::filesystem::is_fifo(fifo));
  CHECK(support::names_in(folder.path()) == 1);
}

TEST_CASE("dump: names up to the maximum length work, also relative ones", "[array]") {
  support::temporary_directory const folder;
  auto const before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  for (int const value : {1, 2}) {
    fm::dump(std::vector{value}, std::string(255, 'n'));
    CHECK(fm::load<int>(std::string(255, 'n'))[0] == value);
  }
  std::filesystem::current_path(before);
}

TEST_CASE("dump: sync writes the file and its name to the disk", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  for (int const value : {1, 2}) {
    fm::dump(std::vector{value}, file, {.sync = true});
    CHECK(fm::load<int>(file)[0] == value);
  }
}

TEST_CASE("dump: a file size limit reached half-way keeps the old file and leaves no other",
          "[array]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1, 2}, folder.path() / "a.npy");
  auto const child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit const limit{1 << 16, 1 << 16};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    int result = 1;
    try {
      fm::dump(std::vector<double>(100000), file);
    } catch (std::system_error const& error) {
      bool const named = std::string(error.what()).find(file.native()) != std::string::npos;
      result = error.code() == std::errc::file_too_large && named ? 0 : 2;
    }
    ::_exit(result);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(fm::load<int>(file)[1] == 2);
  CHECK(support::names_in(folder.path()) == 1);
}

TEST_CASE("dump: if the process is killed, the file is the old one or the new one", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  std::vector<int> const old(300000, 1);
  std::vector<int> const fresh(400000, 2);
  for (int round = 0; round < 20; ++round) {
    fm::dump(old, file);
    auto const child = ::fork();
    if (child == 0) {
      for (;;) fm::dump(fresh, file);
    }
    ::usleep(static_cast<useconds_t>(round * 100));
    ::kill(child, SIGKILL);
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    auto const found = fm::load<int>(file);
    bool const complete = std::ranges::equal(found, old) || std::ranges::equal(found, fresh);
    CHECK(complete);
  }
}
