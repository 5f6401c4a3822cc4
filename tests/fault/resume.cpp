// A map with options::resume when a system call fails, for each call in turn. The error names the
// call that failed. No entry of the journal is lost, and no incomplete entry is used.
// SPDX-License-Identifier: MIT
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "fail_each.hpp"
#include "injection.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using fault::fail_each;
using fault::function;

namespace {

std::vector<int> numbers(std::filesystem::path const& journal, bool fail_in_worker = false) {
  return fm::parallel({.n_jobs = 2, .resume = journal})
      .map(
          [fail_in_worker](int i) {
            if (fail_in_worker && i == 7) fault::arm(function::writev, 1, ENOSPC);
            return i;
          },
          std::views::iota(0, 20));
}

std::vector<fm::outcome<std::string>> texts(std::filesystem::path const& journal,
                                            bool fail_in_worker) {
  return fm::parallel({.n_jobs = 2, .batch_size = 5, .resume = journal})
      .outcomes(std::views::iota(0, 20) | std::views::transform([fail_in_worker](int i) {
                  return [fail_in_worker, i] {
                    if (fail_in_worker && i == 7) fault::arm(function::writev, 1, ENOSPC);
                    return std::to_string(i);
                  };
                }));
}

/// Checks that first() throws if the winner's result cannot be written to the journal.
template <class Result> void must_refuse_a_race(Result const& result) {
  support::temporary_directory const folder;
  auto const race = [&](bool fail_in_worker) {
    return fm::parallel({.n_jobs = 2, .resume = folder.path() / "journal"})
        .first(std::views::iota(0, 20) | std::views::transform([&](int i) {
                 return [&, i] {
                   if (i != 7) throw std::runtime_error("no");
                   if (fail_in_worker) fault::arm(function::writev, 1, ENOSPC);
                   return result;
                 };
               }));
  };
  REQUIRE_THROWS_WITH(race(true), Catch::Matchers::ContainsSubstring("write of the journal"));
  auto const first = race(false);
  REQUIRE(first.index == 7);
  REQUIRE(first.value == result);
}

std::vector<int> all_numbers() {
  std::vector<int> all(20);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

}  // namespace

TEST_CASE("fault: a journal that cannot be created", "[fault]") {
  support::temporary_directory const folder;
  auto const journal = folder.path() / "journal";
  REQUIRE(numbers(journal) == all_numbers());  // performs what a process does only once
  auto const start_over = [&] {
    std::filesystem::remove(journal);
    numbers(journal);
  };
  auto const after = [&] { return numbers(journal) == all_numbers(); };
  REQUIRE(fail_each(function::open, EACCES, "open of the journal", start_over) == 1);
  REQUIRE(after());
  REQUIRE(fail_each(function::fstat, EIO, "fstat", start_over) >= 2);
  REQUIRE(after());
  REQUIRE(fail_each(function::flock, ENOLCK, "lock of the journal", start_over) == 1);
  REQUIRE(after());
  REQUIRE(fail_each(function::getrandom, ENOSYS, "getrandom", start_over) == 1);
  REQUIRE(after());
  REQUIRE(fail_each(function::ftruncate, EIO, "ftruncate", start_over) ==
          2);  // the other one is of shared memory
  REQUIRE(after());
  REQUIRE(fail_each(function::write, ENOSPC, "write of the journal", start_over) == 1);
  REQUIRE(after());
}

TEST_CASE("fault: a journal that cannot be read", "[fault]") {
  support::temporary_directory const folder;
  auto const journal = folder.path() / "journal";
  REQUIRE(numbers(journal) == all_numbers());
  auto const bytes = std::filesystem::file_size(journal);
  REQUIRE(fail_each(function::pread, EIO, "read of the journal", [&] { numbers(journal); }) > 20);
  REQUIRE(std::filesystem::file_size(journal) == bytes);
  REQUIRE(numbers(journal) == all_numbers());
}

TEST_CASE("fault: a worker that cannot write its journal ends the call", "[fault]") {
  support::temporary_directory const folder;
  auto const journal = folder.path() / "journal";
  try {
    numbers(journal, true);
    FAIL("the journal is incomplete, but nothing was thrown");
  } catch (std::system_error const& e) {
    REQUIRE(e.code() == std::error_code(ENOSPC, std::system_category()));
    REQUIRE(std::string(e.what()).find("write of the journal") != std::string::npos);
  }
  REQUIRE(numbers(journal) == all_numbers());
}

TEST_CASE("fault: outcomes() throws if a result cannot be written to the journal", "[fault]") {
  support::temporary_directory const folder;
  auto const journal = folder.path() / "journal";
  REQUIRE_THROWS_WITH(texts(journal, true),
                      Catch::Matchers::ContainsSubstring("write of the journal"));
  auto const all = texts(journal, false);
  for (std::size_t i = 0; i != 20; ++i) REQUIRE(*all[i] == std::to_string(i));
}

TEST_CASE("fault: first() throws if the result cannot be written to the journal", "[fault]") {
  must_refuse_a_race(5);
  must_refuse_a_race(std::string("five"));
}
