// Nested calls: ten levels are allowed, deeper calls are refused.
// SPDX-License-Identifier: MIT
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

namespace {

/// The number of workers between the test and this process.
int levels_here = 0;
/// [0]: the deepest level that a task has reached.
fm::shared_array<int>* reached = nullptr;

void note_level() {
  if (reached == nullptr) return;
  auto& most = (*reached)[0];
  for (auto seen = std::atomic_ref(most).load();
       seen < levels_here && !std::atomic_ref(most).compare_exchange_weak(seen, levels_here);) {
  }
}

/// Each of these functions calls itself in a new worker, for `levels` levels.
int by_map(int levels) {
  note_level();
  if (levels == 0) return 1;
  return 1 + fm::parallel({.n_jobs = 1, .isolate = true})
                 .map(
                     [](int rest) {
                       ++levels_here;
                       return by_map(rest);
                     },
                     std::vector{levels - 1})[0];
}
int by_pool(int levels);
int one_level_down(int levels) {
  ++levels_here;
  return by_pool(levels);
}
int by_pool(int levels) {
  note_level();
  if (levels == 0) return 1;
  fm::pool const workers(1);
  return 1 + workers.submit(fm::delayed(one_level_down)(levels - 1)).get();
}
int by_stream(int levels) {
  note_level();
  if (levels == 0) return 1;
  auto const tasks = std::views::iota(levels - 1, levels) | std::views::transform([](int rest) {
                       return [rest] {
                         ++levels_here;
                         return by_stream(rest);
                       };
                     });
  for (int const below : fm::parallel({.n_jobs = 1, .isolate = true}).stream(tasks)) {
    return 1 + below;
  }
  return 0;
}

int by_turns(int levels);
int next_turn(int levels) {
  ++levels_here;
  return by_turns(levels);
}
int by_turns(int levels) {
  note_level();
  if (levels == 0) return 1;
  auto const task = fm::delayed(next_turn)(levels - 1);
  if (levels_here % 3 == 0) return 1 + fm::pool(1).submit(task).get();
  auto const alone = fm::parallel({.n_jobs = 1, .isolate = true});
  if (levels_here % 3 == 1) return 1 + alone(std::vector{task})[0];
  for (int const below : alone.stream(std::vector{task})) return 1 + below;
  return 0;
}

template <class Call> void must_end_at_ten(Call call) {
  fm::shared_array<int> most({1});
  reached = &most;
  REQUIRE(call(10) == 11);
  REQUIRE(most[0] == 10);
  most[0] = 0;
  try {
    call(1'000'000);
    FAIL("nothing was thrown");
  } catch (std::runtime_error const& e) {
    REQUIRE_THAT(e.what(), ContainsSubstring("10 levels of nested calls deep") &&
                               ContainsSubstring("n_jobs = 1"));
  }
  REQUIRE(most[0] == 10);
  reached = nullptr;
}

int without_workers(int levels) {
  if (levels == 0) return 1;
  return 1 + fm::parallel(1).map(without_workers, std::vector{levels - 1})[0];
}

}  // namespace

TEST_CASE("depth: maps may be nested ten levels deep", "[depth]") { must_end_at_ten(by_map); }
TEST_CASE("depth: pools may be nested ten levels deep", "[depth]") { must_end_at_ten(by_pool); }
TEST_CASE("depth: streams may be nested ten levels deep", "[depth]") { must_end_at_ten(by_stream); }

TEST_CASE("depth: maps, pools and streams count together", "[depth]") { must_end_at_ten(by_turns); }

TEST_CASE("depth: calls that run in the caller's own process do not count as levels", "[depth]") {
  REQUIRE(without_workers(100) == 101);
}

TEST_CASE("depth: a process that a task forks is as deep as the task", "[depth]") {
  auto const deep = fm::parallel({.n_jobs = 1, .isolate = true})
                        .map(
                            [](int) {
                              pid_t const child = ::fork();
                              if (child == 0) {
                                try {
                                  ::_exit(by_map(9) == 10 ? 0 : 1);
                                } catch (...) {
                                  ::_exit(2);
                                }
                              }
                              int status = 0;
                              ::waitpid(child, &status, 0);
                              return status;
                            },
                            std::views::iota(0, 1));
  REQUIRE(deep[0] == 0);
}
