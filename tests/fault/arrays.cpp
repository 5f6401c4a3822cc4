// Array files when a system call fails, for each call in turn. The error names the file, an old
// file is unchanged, and no temporary file is left.
// SPDX-License-Identifier: MIT
#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "fail_each.hpp"
#include "injection.hpp"
#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using fault::fail_each;
using fault::function;

TEST_CASE("fault: dump keeps the old file, whichever system call fails", "[fault]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  fm::dump(std::vector{1, 2, 3}, file);
  auto const before = support::file_bytes(file);
  auto const replace = [&] { fm::dump(std::vector(1000, 7), file, {.sync = true}); };
  struct {
    function f;
    int code;
  } const all[] = {{function::open, EACCES},   {function::fallocate, ENOSPC},
                   {function::writev, ENOSPC}, {function::writev, EIO},
                   {function::fsync, EIO},     {function::rename, EPERM}};
  for (auto const& fault_case : all) {
    for (int nth = 1;; ++nth) {
      support::write_bytes(file, before);
      fault::arm(fault_case.f, nth, fault_case.code);
      std::string message;
      try {
        replace();
      } catch (std::system_error const& e) {
        message = e.what();
      }
      if (!fault::disarm()) break;
      INFO(fault::name_of(fault_case.f) << ", call " << nth);
      REQUIRE(support::names_in(folder.path()) == 1);
      // If open with O_TMPFILE fails, dump uses a named temporary file instead. The folder is
      // opened and synchronised after the rename: then the new file is complete and in place.
      bool const uses_named_file = fault_case.f == function::open && message.empty();
      bool const renamed =
          nth == 2 && (fault_case.f == function::fsync || fault_case.f == function::open);
      REQUIRE((support::file_bytes(file) == before) == (!uses_named_file && !renamed));
      if (uses_named_file) continue;
      REQUIRE(message.find(folder.path().native()) != std::string::npos);
    }
  }
}

TEST_CASE("fault: load names the file, whichever system call fails", "[fault]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1, 2, 3}, folder.path() / "a.npy");
  auto const map = [&] { fm::load<int>(file); };
  auto const copy = [&] { fm::load<int>(file, fm::in_memory); };
  REQUIRE(fail_each(function::open, EMFILE, "a.npy", map) == 1);
  REQUIRE(fail_each(function::fstat, EIO, "a.npy", map) == 2);
  REQUIRE(fail_each(function::pread, EIO, "a.npy", map) == 1);
  REQUIRE(fail_each(function::mmap, ENOMEM, "a.npy", map) == 1);
  REQUIRE(fail_each(function::pread, EIO, "a.npy", copy) == 2);
}

TEST_CASE("fault: create and flush name the file", "[fault]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "out.npy";
  auto const create = [&] { return fm::memmap<double>::create(file, {1000}); };
  fault::arm(function::fallocate, 1, ENOSPC);
  REQUIRE_THROWS_AS(create(), std::system_error);
  REQUIRE(fault::disarm());
  REQUIRE(!std::filesystem::exists(file));
  REQUIRE(fail_each(function::fallocate, ENOSPC, "out.npy", create) == 1);
  fault::arm(function::mmap, 1, ENOMEM);
  REQUIRE_THROWS_AS(create(), std::system_error);
  REQUIRE(fault::disarm());
  auto const output = create();
  REQUIRE(fail_each(function::msync, EIO, "out.npy", [&] { output.flush(); }) == 1);
}

TEST_CASE("fault: a file that becomes shorter while it is opened is a format_error", "[fault]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  auto const reopen = [&] { return fm::load<int>(file); };
  auto const raw = [&] {
    return fm::memmap<int const>::open_raw(file, {1000}, fm::read_only, 128);
  };
  fm::dump(std::vector(1000, 7), file);
  fault::shorten_at_mmap(file.c_str(), 4127);
  try {
    reopen();
    FAIL("nothing was thrown");
  } catch (fm::format_error const& e) {
    REQUIRE(e.path() == file);
    REQUIRE(std::string(e.what()).find("has 4127 bytes, the array ends at 4128") !=
            std::string::npos);
  }
  fm::dump(std::vector(1000, 7), file);
  fault::shorten_at_mmap(file.c_str(), 0);
  REQUIRE_THROWS_AS(raw(), fm::format_error);
  // A file that is longer than needed is accepted.
  fm::dump(std::vector(1000, 7), file);
  fault::shorten_at_mmap(file.c_str(), 5000);
  REQUIRE(raw()[999] == 7);
}

TEST_CASE("fault: if mprotect of a guard fails, the array stays writable", "[fault]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "out.npy";
  auto const out = fm::memmap<char>::create(file, {1 << 20});
  fm::shared_array<char> const shared({1 << 20});
  auto const refused = [](auto const& array, int nth) {
    fault::arm(function::mprotect, nth, ENOMEM);
    std::string message;
    try {
      auto const guard = array.guard({0, 1});
    } catch (std::system_error const& e) {
      REQUIRE(e.code() == std::error_code(ENOMEM, std::system_category()));
      message = e.what();
    }
    REQUIRE(fault::disarm());
    return message;
  };
  // mprotect of the window, and of the pages behind it.
  for (int const nth : {1, 2}) {
    REQUIRE(refused(out, nth).find(file.native()) != std::string::npos);
    REQUIRE(refused(shared, nth).find("guard) of a shared_array") != std::string::npos);
    out[out.size() - 1] = 1;
    shared[shared.size() - 1] = 1;
  }
  auto const outer = out.guard({1 << 19, 1 << 20});
  REQUIRE(!refused(out, 1).empty());
  out[1 << 19] = 1;
}

TEST_CASE("fault: create maps the file by its final name if possible", "[fault]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "out.npy";
  fault::arm(function::mmap, 2, ENOMEM);
  auto const out = fm::memmap<double>::create(file, {1000});
  REQUIRE(fault::disarm());
  out[999] = 1;
  REQUIRE(fm::load<double>(file)[999] == 1);
}
