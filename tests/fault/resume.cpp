// A resumed map whose system calls fail, each in turn: the error names what failed, and what the
// journal holds is neither lost nor believed by half.
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

/// A race of which the journal cannot hold the winner's result.
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

TEST_CASE("fault: a journal that cannot be made", "[fault]") {
  support::temporary_directory const folder;
  auto const journal = folder.path() / "journal";
  REQUIRE(numbers(journal) == all_numbers());  // what is done once in a process is done
  auto const anew = [&] {
    std::filesystem::remove(journal);
    numbers(journal);
  };
  auto const after = [&] { return numbers(journal) == all_numbers(); };
  REQUIRE(fail_each(function::open, EACCES, "open of the journal", anew) == 1);
  REQUIRE(after());
  REQUIRE(fail_each(function::fstat, EIO, "fstat", anew) >= 2);
  REQUIRE(after());
  REQUIRE(fail_each(function::flock, ENOLCK, "lock of the journal", anew) == 1);
  REQUIRE(after());
  REQUIRE(fail_each(function::getrandom, ENOSYS, "getrandom", anew) == 1);
  REQUIRE(after());
  REQUIRE(fail_each(function::ftruncate, EIO, "ftruncate", anew) == 2);  // and of shared memory
  REQUIRE(after());
  REQUIRE(fail_each(function::write, ENOSPC, "write of the journal", anew) == 1);
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
    FAIL("the journal is incomplete, and nobody knows");
  } catch (std::system_error const& e) {
    REQUIRE(e.code() == std::error_code(ENOSPC, std::system_category()));
    REQUIRE(std::string(e.what()).find("write of the journal") != std::string::npos);
  }
  REQUIRE(numbers(journal) == all_numbers());
}

TEST_CASE("fault: outcomes that the journal does not hold are none", "[fault]") {
  support::temporary_directory const folder;
  auto const journal = folder.path() / "journal";
  REQUIRE_THROWS_WITH(texts(journal, true),
                      Catch::Matchers::ContainsSubstring("write of the journal"));
  auto const all = texts(journal, false);
  for (std::size_t i = 0; i != 20; ++i) REQUIRE(*all[i] == std::to_string(i));
}

TEST_CASE("fault: a winner whose result the journal does not hold is none", "[fault]") {
  must_refuse_a_race(5);
  must_refuse_a_race(std::string("five"));
}
