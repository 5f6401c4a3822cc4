// Write guards: a task that writes outside of its guard is killed and reported, and changes
// nothing.
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

namespace {

std::size_t const page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

/// Whether a worker can store to that element.
template <class Array> bool writable(Array const& array, std::size_t at) {
  auto const outcomes = fm::parallel({.n_jobs = 1, .isolate = true})
                            .outcomes(std::views::iota(0, 1) | std::views::transform([&](int) {
                                        return [&array, at] {
                                          // Volatile, so that the store is not optimised away.
                                          int volatile* const element = &array[at];
                                          *element = *element;
                                        };
                                      }));
  return outcomes[0].has_value();
}

/// The access rights at an address, as /proc/self/maps shows them: "rw-s".
std::string rights_at(void const* address) {
  std::ifstream maps("/proc/self/maps");
  auto const wanted = reinterpret_cast<std::uintptr_t>(address);
  for (std::string line; std::getline(maps, line);) {
    char* rest = nullptr;
    auto const begin = std::strtoull(line.c_str(), &rest, 16);
    auto const end = std::strtoull(rest + 1, &rest, 16);
    if (begin <= wanted && wanted < end) return {rest + 1, 4};
  }
  return {};
}
bool is_writable_here(auto const& array, std::size_t at) {
  return rights_at(array.data() + at).substr(0, 2) == "rw";
}

using ints = fm::shared_array<int>;
std::size_t const per_page = page / sizeof(int);

void fill_guarded(ints const& out, fm::slice mine, std::size_t stray) {
  auto const only_mine = out.guard(mine);
  std::ranges::fill(out[mine], 1);
  if (stray != 0) out[stray] = 1;
}

void fill_file(fm::memmap<int> const& out, std::size_t stray) {
  auto const only_mine = out.guard();
  std::ranges::fill(out, 1);
  if (stray != 0) out.data()[stray] = 1;
}

}  // namespace

TEST_CASE("guard: a stray write ends its task with a message that names file and byte", "[guard]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "out.npy";
  auto const out = fm::memmap<int>::create(file, {8 * per_page});
  auto const slices = out.page_slices(8);
  auto const run = [&](bool guarded) {
    std::ranges::fill(out, 0);
    return fm::parallel(2).outcomes(std::views::iota(std::size_t{0}, slices.size()) |
                                    std::views::transform([&, guarded](std::size_t i) {
                                      return [&, guarded, i] {
                                        std::optional<fm::write_guard> only_mine;
                                        if (guarded) only_mine = out.guard(slices[i]);
                                        std::ranges::fill(out[slices[i]], 1);
                                        // The stray write.
                                        if (i == 3) out[slices[6].start + 10] = -1;
                                      };
                                    }));
  };
  auto const damage = [&] { return std::ranges::count(out, -1); };

  auto const unguarded = run(false);
  REQUIRE(std::ranges::all_of(unguarded, [](auto const& task) { return task.has_value(); }));

  auto const guarded_outcomes = run(true);
  REQUIRE(damage() == 0);
  for (std::size_t i = 0; i != guarded_outcomes.size(); ++i) {
    REQUIRE(guarded_outcomes[i].has_value() == (i != 3));
    REQUIRE(out[slices[i].stop - 1] == 1);
  }
  auto const& failure = guarded_outcomes[3].error();
  REQUIRE(failure.reason == fm::failure::died);
  REQUIRE_THAT(failure.message, ContainsSubstring("task 3 killed its worker"));
  auto const byte = out.offset() + (slices[6].start + 10) * sizeof(int);
  REQUIRE_THAT(failure.message, ContainsSubstring(": byte " + std::to_string(byte) + " of " +
                                                  std::filesystem::canonical(file).native() +
                                                  ", which was read-only there"));
}

TEST_CASE("guard: every page that overlaps the window stays writable", "[guard]") {
  ints const array({10 * per_page});
  auto const guard = array.guard({2 * per_page + 5, 4 * per_page + 1});
  REQUIRE(!is_writable_here(array, 0));
  REQUIRE(!is_writable_here(array, 2 * per_page - 1));
  REQUIRE(is_writable_here(array, 2 * per_page));
  REQUIRE(is_writable_here(array, 3 * per_page));
  REQUIRE(is_writable_here(array, 5 * per_page - 1));
  REQUIRE(!is_writable_here(array, 5 * per_page));
  REQUIRE(!is_writable_here(array, 10 * per_page - 1));
  REQUIRE(writable(array, 2 * per_page));
  REQUIRE(!writable(array, 5 * per_page));
  REQUIRE(array[9 * per_page] == 0);  // reading is allowed everywhere
}

TEST_CASE("guard: the windows of several guards add up and can be removed in any order",
          "[guard]") {
  ints const array({10 * per_page});
  auto const pattern = [&] {
    std::string text;
    for (std::size_t i = 0; i != 10; ++i) text += is_writable_here(array, i * per_page) ? 'w' : '-';
    return text;
  };
  auto const pages = [](std::size_t first, std::size_t last) {
    return fm::slice{first * per_page, last * per_page};
  };
  REQUIRE(pattern() == "wwwwwwwwww");
  {
    std::optional<fm::write_guard> second = array.guard(pages(6, 8));
    REQUIRE(pattern() == "------ww--");
    std::optional<fm::write_guard> first = array.guard(pages(1, 3));
    REQUIRE(pattern() == "-ww---ww--");
    std::optional<fm::write_guard> third = array.rows(pages(2, 7)).guard();
    REQUIRE(pattern() == "-wwwwwww--");
    auto const none = array.guard({0, 0});
    REQUIRE(pattern() == "-wwwwwww--");
    second.reset();
    REQUIRE(pattern() == "-wwwwww---");
    third.reset();
    REQUIRE(pattern() == "-ww-------");
    first = array.guard(pages(9, 10));
    REQUIRE(pattern() == "---------w");
    first.reset();
    REQUIRE(pattern() == "----------");
  }
  REQUIRE(pattern() == "wwwwwwwwww");
}

TEST_CASE("guard: a guard ends when its task throws or returns, in the caller's process too",
          "[guard]") {
  ints const array({4 * per_page});
  for (bool const isolate : {false, true}) {
    auto const map = fm::parallel({.n_jobs = 1, .isolate = isolate});
    REQUIRE_THROWS_AS(map([&] {
                        auto const guard = array.guard({0, 1});
                        if (is_writable_here(array, 3 * per_page)) throw std::logic_error("open");
                        throw std::runtime_error("closed");
                      }),
                      std::runtime_error);
    REQUIRE(is_writable_here(array, 3 * per_page));
    map([&] { fill_guarded(array, {0, per_page}, 0); });
    REQUIRE(array[per_page - 1] == 1);
    array[3 * per_page] = 2;
  }
}

TEST_CASE("guard: a guard keeps the mapping of its array alive", "[guard]") {
  support::temporary_directory const folder;
  auto guard = fm::memmap<int>::create(folder.path() / "a.npy", {8 * per_page}).guard({0, 1});
  auto moved = std::move(guard);
  auto array = fm::memmap<int>::create(folder.path() / "b.npy", {8 * per_page});
  moved = array.guard({0, 1});
  REQUIRE(!is_writable_here(array, 7 * per_page));
  moved = fm::shared_array<int>({1}).guard();
  REQUIRE(is_writable_here(array, 7 * per_page));
}

TEST_CASE("guard: works in a pool, for arrays and for views", "[guard]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "out.bin";
  auto const out = fm::memmap<int>::create(file, {8, per_page});
  ints const shared({8 * per_page});
  fm::pool const workers(2);
  auto const outcomes = workers.outcomes(
      std::views::iota(std::size_t{0}, std::size_t{8}) | std::views::transform([&](std::size_t i) {
        return fm::delayed(fill_guarded)(shared, fm::slice{i * per_page, (i + 1) * per_page},
                                         i == 5 ? std::size_t{1} : std::size_t{0});
      }));
  for (std::size_t i = 0; i != 8; ++i) {
    REQUIRE(outcomes[i].has_value() == (i != 5));
    REQUIRE(shared[i * per_page] == 1);
  }
  REQUIRE(shared[1] == 1);  // written by task 0, not by the stray write of task 5
  REQUIRE_THAT(outcomes[5].error().message,
               ContainsSubstring(": byte 4 of a shared_array, which was read-only there"));

  // The guard of a view protects the elements outside of the view.
  auto const of_views = workers.outcomes(
      std::views::iota(std::size_t{0}, std::size_t{8}) | std::views::transform([&](std::size_t i) {
        return fm::delayed(fill_file)(out.row(i), i == 2 ? 3 * per_page : std::size_t{0});
      }));
  for (std::size_t i = 0; i != 8; ++i) {
    REQUIRE(of_views[i].has_value() == (i != 2));
    REQUIRE(out(i, per_page - 1) == 1);
  }
  REQUIRE_THAT(of_views[2].error().message,
               ContainsSubstring(": byte " + std::to_string(5 * page) + " of " +
                                 std::filesystem::canonical(file).native()));
}

TEST_CASE("guard: works for copy_on_write arrays, whose pages are private", "[guard]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector<int>(4 * per_page, 1), folder.path() / "a.npy");
  auto const own = fm::load<int>(file, fm::copy_on_write);
  own[3 * per_page] = 2;
  {
    auto const guard = own.guard({0, 10});
    own[5] = 3;
    REQUIRE(!writable(own, 3 * per_page));
    REQUIRE(own[3 * per_page] == 2);
  }
  own[3 * per_page] = 4;
  REQUIRE(fm::load<int>(file)[5] == 1);
}

TEST_CASE("guard: workers of a nested map have guards of their own", "[guard]") {
  ints const array({8 * per_page});
  auto const guard = array.guard({0, 4 * per_page});
  auto const inner = [&](std::size_t first_page, std::size_t at) {
    return fm::parallel({.n_jobs = 1, .isolate = true})
        .outcomes(std::views::iota(0, 1) | std::views::transform([&, first_page, at](int) {
                    return [&, first_page, at] {
                      {
                        auto const mine =
                            array.guard({first_page * per_page, (first_page + 1) * per_page});
                        if (at < 100) array[at * per_page] = 1;
                      }
                      // After the inner guard, the guard of the caller applies again.
                      if (at >= 100) array[(at - 100) * per_page] = 1;
                    };
                  }))[0]
        .has_value();
  };
  REQUIRE(inner(1, 1));
  REQUIRE(!inner(1, 2));
  REQUIRE(!inner(1, 5));
  REQUIRE(inner(1, 102));
  REQUIRE(!inner(1, 105));
}

TEST_CASE("guard: a slice out of range throws, an empty array is accepted", "[guard]") {
  ints const array({100});
  REQUIRE_THROWS_AS(array.guard({0, 101}), std::out_of_range);
  REQUIRE_THROWS_AS(array.guard({5, 4}), std::out_of_range);
  REQUIRE(is_writable_here(array, 0));
  ints const empty({0});
  auto const nothing = empty.guard({0, 0});
  auto const no_file = fm::memmap<int>().guard();
}

TEST_CASE("guard: several threads can guard one array", "[guard]") {
  ints const array({64 * per_page});
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t != 4; ++t) {
    threads.emplace_back([&array, t] {
      for (int round = 0; round != 200; ++round) {
        auto const guard = array.guard({t * 16 * per_page, (t + 1) * 16 * per_page});
        for (std::size_t i = 0; i != 16; ++i) array[(t * 16 + i) * per_page] += 1;
      }
    });
  }
  // Meanwhile, workers are forked while guards are half set or half removed.
  for (int round = 0; round != 20; ++round) {
    fm::parallel({.n_jobs = 2})([&] { fill_guarded(array, {1, 3}, 0); },
                                [&] { fill_guarded(array, {4, 5}, 0); });
  }
  threads.clear();
  REQUIRE(array[17 * per_page] == 200);
  REQUIRE(array[63 * per_page] == 200);
  REQUIRE(is_writable_here(array, 0));
}

TEST_CASE("guard: reading past the end of a file that was truncated fails only that task",
          "[guard]") {
  if (support::thread_sanitizer) return;  // TSan handles SIGBUS, whatever its options
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector<int>(8 * per_page, 1), folder.path() / "a.npy");
  auto const array = fm::load<int>(file);
  std::filesystem::resize_file(file, 2 * page);
  auto const outcomes = fm::parallel(2).outcomes(
      std::views::iota(std::size_t{0}, std::size_t{2}) | std::views::transform([&](std::size_t i) {
        return [&array, i] { return array[i * 7 * per_page]; };
      }));
  REQUIRE(*outcomes[0] == 1);
  auto const& failure = outcomes[1].error();
  REQUIRE_THAT(failure.message, ContainsSubstring("SIGBUS at address 0x"));
  REQUIRE_THAT(failure.message,
               ContainsSubstring(std::filesystem::canonical(file).native() + ", which has " +
                                 std::to_string(2 * page) + " bytes now"));
}
