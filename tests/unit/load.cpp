// SPDX-License-Identifier: MIT
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <complex>
#include <filesystem>
#include <system_error>
#include <type_traits>
#include <vector>

#include <forkmap/dump.hpp>
#include <forkmap/inspect.hpp>
#include <forkmap/load.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

static_assert(std::same_as<decltype(fm::load<int>("")), fm::memmap<int const>>);
static_assert(std::same_as<decltype(fm::load<int>("", fm::read_only)), fm::memmap<int const>>);
static_assert(std::same_as<decltype(fm::load<int>("", fm::read_write)), fm::memmap<int>>);
static_assert(std::same_as<decltype(fm::load<int>("", fm::copy_on_write)), fm::memmap<int>>);
static_assert(std::same_as<decltype(fm::load<int>("", fm::in_memory)), fm::owned_array<int>>);
static_assert(std::same_as<decltype(fm::load<int const>("")), fm::memmap<int const>>);

TEST_CASE("load: the mode decides whether writes reach the file", "[array]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1, 2, 3}, folder.path() / "a.npy");
  auto const seen = fm::load<int>(file);
  auto const shared = fm::load<int>(file, fm::read_write);
  auto const own = fm::load<int>(file, fm::copy_on_write);
  auto copy = fm::load<int>(file, fm::in_memory);
  shared[0] = 10;
  own[1] = 20;
  copy[2] = 30;
  shared.flush();
  CHECK(seen[0] == 10);
  CHECK(seen[1] == 2);
  CHECK(seen[2] == 3);
  CHECK(own[1] == 20);
  CHECK(fm::load<int>(file, fm::in_memory)[0] == 10);
}

TEST_CASE("load: refuses a wrong type and names the right one", "[array]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector<float>{1}, folder.path() / "a.npy");
  CHECK_THROWS_WITH(fm::load<double>(file),
                    "forkmap: load " + file.native() +
                        ": the file holds '<f4' (float), not '<f8' (double); load<float> reads it");
  CHECK_THROWS_AS(fm::load<int>(file), fm::dtype_error);
  CHECK_THROWS_AS(fm::load<std::uint32_t>(file, fm::in_memory), fm::dtype_error);
  CHECK_THROWS_AS(fm::load<std::complex<float>>(file, fm::read_write), fm::dtype_error);
  try {
    fm::load<bool>(file);
    FAIL();
  } catch (fm::dtype_error const& error) {
    auto const copy = error;
    CHECK(copy.path() == file);
  }
}

TEST_CASE("load: refuses a file that is shorter than its header says", "[array]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1.0, 2.0}, folder.path() / "a.npy");
  std::filesystem::resize_file(file, 143);
  CHECK_THROWS_AS(fm::load<double>(file), fm::format_error);
  CHECK_THROWS_WITH(fm::load<double>(file),
                    ContainsSubstring(file.native()) && ContainsSubstring("15 bytes"));
}

TEST_CASE("load: does not block on a FIFO, and refuses devices and directories", "[array]") {
  support::temporary_directory const folder;
  auto const fifo = folder.path() / "fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  CHECK_THROWS_WITH(fm::load<double>(fifo), ContainsSubstring("a FIFO, not a regular file"));
  CHECK_THROWS_AS(fm::load<double>(fifo, fm::read_write), fm::format_error);
  CHECK_THROWS_WITH(fm::load<double>("/dev/zero"), ContainsSubstring("a device"));
  CHECK_THROWS_AS(fm::inspect("/dev/zero"), fm::format_error);
  CHECK_THROWS_AS(fm::load<double>(folder.path()), std::system_error);
  CHECK_THROWS_AS(fm::load<double>(folder.path(), fm::read_write), std::system_error);
}

TEST_CASE("load: a missing file or permission is a system_error naming the file", "[array]") {
  support::temporary_directory const folder;
  auto const missing = folder.path() / "none.npy";
  try {
    fm::load<double>(missing);
    FAIL();
  } catch (std::system_error const& error) {
    CHECK(error.code() == std::errc::no_such_file_or_directory);
    CHECK_THAT(error.what(), ContainsSubstring(missing.native()));
  }
  auto const file = fm::dump(std::vector{1.0}, folder.path() / "a.npy");
  REQUIRE(::chmod(file.c_str(), 0444) == 0);
  REQUIRE(::chmod(folder.path().c_str(), 0777) == 0);
  auto const child = ::fork();
  if (child == 0) {
    // Root may write everything, so drop root; user nobody may not even reach the folder.
    if (::chdir(folder.path().c_str()) != 0) ::_exit(8);
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) ::_exit(0);
    int result = 0;
    for (bool const dumps : {false, true}) {
      try {
        if (dumps) {
          fm::dump(std::vector{2.0}, "a.npy");
        } else {
          fm::load<double>("a.npy", fm::read_write);
        }
        result |= 1;
      } catch (std::system_error const& error) {
        result |= error.code() == std::errc::permission_denied ? 0 : 2;
      }
    }
    ::_exit(fm::load<double>("a.npy")[0] == 1.0 ? result : 4);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("load: detects the format by the content, not by the name", "[array]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1.0}, folder.path() / "a.npy");
  std::filesystem::rename(file, folder.path() / "a.joblib");
  CHECK(fm::load<double>(folder.path() / "a.joblib")[0] == 1.0);
}

TEST_CASE("load: does not change the file", "[array]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1.0, 2.0}, folder.path() / "a.npy");
  auto const bytes = support::file_bytes(file);
  fm::load<double>(file, fm::read_write);
  fm::load<double>(file, fm::copy_on_write)[0] = 7.0;
  fm::inspect(file);
  CHECK(support::file_bytes(file) == bytes);
}

TEST_CASE("inspect: returns dtype, dims, layout and the offset of the data", "[array]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector<std::uint16_t>(6), folder.path() / "a.npy",
                             {.dims = {2, 3}, .layout = fm::order::fortran});
  auto const info = fm::inspect(file);
  CHECK(info.dtype == "<u2");
  CHECK(info.dims == fm::shape{2, 3});
  CHECK(info.layout == fm::order::fortran);
  CHECK(info.offset == 128);
  CHECK(info.format == "npy");
  CHECK(info.item_bytes == 2);
}
