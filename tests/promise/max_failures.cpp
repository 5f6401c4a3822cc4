// The option max_failures: the number of failed tasks after which a call ends.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"

namespace fm = forkmap;

namespace {

int throw_at_odd(int i) {
  if (i % 2 == 1) throw std::runtime_error("odd");
  return i;
}
int crash_at_odd(int i) {
  if (i % 2 == 1) ::raise(SIGKILL);
  return i;
}

/// Checks the outcomes of a call that ended after `limit` failures of tasks with odd numbers.
template <class Outcomes> void check_ended(Outcomes const& outcomes, int limit, int n_workers) {
  int n_failed = 0;
  int n_not_run = 0;
  for (std::size_t i = 0; i != outcomes.size(); ++i) {
    CAPTURE(i);
    auto const& outcome = outcomes[i];
    if (outcome) {
      REQUIRE(*outcome == static_cast<int>(i));
      REQUIRE(i % 2 == 0);
      continue;
    }
    auto const reason = outcome.error().reason;
    if (reason == fm::failure::threw || reason == fm::failure::died) {
      REQUIRE(i % 2 == 1);
      ++n_failed;
      continue;
    }
    REQUIRE((reason == fm::failure::never_started || reason == fm::failure::cancelled));
    CHECK(outcome.error().message.find("max_failures") != std::string::npos);
    CHECK_THROWS_AS(outcome.value(), fm::task_cancelled);
    ++n_not_run;
  }
  CHECK(n_failed >= limit);
  CHECK(n_failed < limit + n_workers);  // a task of each other worker may fail meanwhile
  CHECK(n_not_run > 0);
}

template <class Call> void check_limit(Call call) {
  for (int const limit : {1, 2, 7}) {
    CAPTURE(limit);
    check_ended(call(fm::options{.n_jobs = 2, .batch_size = 1, .max_failures = limit}), limit, 2);
  }
}

constexpr int many = 2'000;

}  // namespace

TEST_CASE("max_failures: outcomes() of parallel and of a pool ends after so many failures",
          "[failure]") {
  auto const numbers = std::views::iota(0, many);
  check_limit([&](auto const& opts) { return fm::parallel(opts).outcomes(throw_at_odd, numbers); });
  check_limit([&](auto const& opts) { return fm::parallel(opts).outcomes(crash_at_odd, numbers); });
  check_limit([&](auto const& opts) { return fm::pool(opts).outcomes(throw_at_odd, numbers); });
  check_limit([&](auto const& opts) { return fm::pool(opts).outcomes(crash_at_odd, numbers); });
}

TEST_CASE("max_failures: with n_jobs = 1 the tasks behind the last failure do not run",
          "[failure]") {
  int n_run = 0;
  auto const outcomes = fm::parallel({.n_jobs = 1, .max_failures = 3})
                            .outcomes(
                                [&](int i) {
                                  ++n_run;
                                  return throw_at_odd(i);
                                },
                                std::views::iota(0, 20));
  CHECK(n_run == 6);
  check_ended(outcomes, 3, 1);
}

TEST_CASE("max_failures: fewer failures, or none, change nothing", "[failure]") {
  auto const check = [](auto const& workers) {
    auto const outcomes = workers.outcomes(throw_at_odd, std::views::iota(0, 20));
    CHECK(std::ranges::count_if(outcomes, [](auto const& o) { return o.has_value(); }) == 10);
    CHECK(workers.map([](int i) { return i; }, std::views::iota(0, 3)) == std::vector{0, 1, 2});
    // A race may lose more tasks than that.
    CHECK(workers.first(throw_at_odd, std::vector{1, 3, 5, 4}).value == 4);
  };
  check(fm::parallel({.n_jobs = 2, .max_failures = 11}));
  check(fm::pool(fm::options{.n_jobs = 2, .max_failures = 11}));
  fm::pool const strict(fm::options{.n_jobs = 2, .max_failures = 1});
  CHECK(strict.first(throw_at_odd, std::vector{1, 3, 5, 4}).value == 4);
  CHECK_THROWS_AS(fm::parallel({.max_failures = -1}), std::invalid_argument);
}

TEST_CASE("max_failures: a pool serves the next call after one that had too many failures",
          "[failure]") {
  fm::pool const workers(fm::options{.n_jobs = 2, .batch_size = 1, .max_failures = 2});
  for (int n = 0; n != 20; ++n) {
    check_ended(workers.outcomes(throw_at_odd, std::views::iota(0, 200)), 2, 2);
    CHECK(workers.outcomes(throw_at_odd, std::vector{2})[0].value() == 2);
  }
}

TEST_CASE("max_failures: a stream of outcomes ends after the tasks that it has dispatched",
          "[failure]") {
  auto const check = [](auto const& workers, std::size_t most) {
    for (bool const endless : {false, true}) {
      std::vector<fm::outcome<int>> outcomes;
      auto const tasks = std::views::iota(0) |
                         std::views::transform([](int i) { return fm::delayed(throw_at_odd)(i); });
      if (endless) {
        for (auto& outcome : workers.stream_outcomes(tasks)) outcomes.push_back(outcome);
      } else {
        for (auto& outcome : workers.stream_outcomes(throw_at_odd, std::views::iota(0, many)))
          outcomes.push_back(outcome);
      }
      int failed = 0;
      for (std::size_t i = 0; i != outcomes.size(); ++i) {
        if (outcomes[i]) CHECK(*outcomes[i] == static_cast<int>(i));
        failed += !outcomes[i] && outcomes[i].error().reason == fm::failure::threw ? 1 : 0;
      }
      CHECK(failed >= 3);
      CHECK(outcomes.size() >= 6);
      CHECK(outcomes.size() <= 6 + most);
    }
  };
  check(fm::pool(fm::options{.n_jobs = 2, .pre_dispatch = 8, .max_failures = 3}), 8);
  check(fm::parallel({.n_jobs = 2, .pre_dispatch = 8, .max_failures = 3}), 8);
  check(fm::parallel({.n_jobs = 1, .max_failures = 3}), 0);
  // A task that never returns is ended.
  int n = 0;
  for (auto const& [index, outcome] : fm::parallel({.n_jobs = 2, .max_failures = 1})
                                          .unordered_outcomes(
                                              [](int i) {
                                                if (i == 1) throw std::runtime_error("one");
                                                for (;;) ::pause();
                                              },
                                              std::views::iota(0, 9))) {
    CHECK_FALSE(outcome.has_value());
    CHECK((outcome.error().reason == fm::failure::threw) == (index == 1));
    ++n;
  }
  CHECK(n >= 4);  // a stream need not dispatch all tasks before it gives the first outcome
  CHECK(n <= 9);
  CHECK(support::child_processes().empty());
}
