// Streams of outcomes: a failure is an element, and the other tasks run on.
// SPDX-License-Identifier: MIT
#include <signal.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"

namespace fm = forkmap;

namespace {

// Of every seven tasks one crashes, one throws and one exits.
int fail_often(int x) {
  if (x % 7 == 2) ::raise(SIGSEGV);
  if (x % 7 == 4) throw std::out_of_range("four");
  if (x % 7 == 6) std::exit(3);
  return 2 * x;
}
void fail_often_without_result(int x) { fail_often(x); }

template <class Outcome> void check_outcome(Outcome const& outcome, int x) {
  CAPTURE(x);
  bool const fails = x % 7 == 2 || x % 7 == 4 || x % 7 == 6;
  REQUIRE(outcome.has_value() == !fails);
  if (!fails) return;
  auto const& failure = outcome.error();
  CHECK(failure.index() == static_cast<std::size_t>(x));
  CHECK(failure.reason == (x % 7 == 4 ? fm::failure::threw : fm::failure::died));
  CHECK(failure.signal() == (x % 7 == 2 ? SIGSEGV : 0));
  CHECK(failure.exit_status() == (x % 7 == 6 ? 3 : -1));
  if (x % 7 == 4)
    CHECK_THROWS_AS(outcome.value(), std::out_of_range);
  else
    CHECK_THROWS_AS(outcome.value(), fm::worker_died);
}

/// Reads both kinds of streams of all tasks.
template <class Workers> void check_all_outcomes(Workers const& workers, int n) {
  int at = 0;
  for (auto const& outcome : workers.stream_outcomes(fail_often, std::views::iota(0, n))) {
    check_outcome(outcome, at);
    if (outcome) CHECK(*outcome == 2 * at);
    ++at;
  }
  CHECK(at == n);
  std::vector<int> seen(static_cast<std::size_t>(n));
  for (auto const& [index, outcome] :
       workers.unordered_outcomes(fail_often_without_result, std::views::iota(0, n))) {
    check_outcome(outcome, static_cast<int>(index));
    ++seen[index];
  }
  CHECK(seen == std::vector<int>(static_cast<std::size_t>(n), 1));
}

}  // namespace

TEST_CASE("stream_outcomes: each failure is an element, from a pool and from parallel()",
          "[stream]") {
  for (int const n : {0, 1, 3, 70}) {
    check_all_outcomes(fm::pool(2), n);
    check_all_outcomes(fm::parallel(2), n);
  }
  CHECK(support::child_processes().empty());
}

TEST_CASE("stream_outcomes: tasks with captures run in workers of each window, beside failures",
          "[stream]") {
  auto const make = [factor = 3](int i) {
    return [factor, i] {
      if (i == 5) ::raise(SIGKILL);
      if (i == 6) throw std::runtime_error("six");
      return factor * i;
    };
  };
  // Neither a size nor random access: a window of four tasks is read at a time.
  auto tasks = std::views::iota(0) | std::views::take_while([](int i) { return i != 14; }) |
               std::views::transform(make) | std::views::filter([](auto const&) { return true; });
  int at = 0;
  for (auto const& outcome :
       fm::parallel({.n_jobs = 2, .pre_dispatch = 4}).stream_outcomes(tasks)) {
    CAPTURE(at);
    REQUIRE(outcome.has_value() == (at != 5 && at != 6));
    if (outcome) CHECK(*outcome == 3 * at);
    ++at;
  }
  CHECK(at == 14);
}

TEST_CASE("stream_outcomes: with n_jobs = 1 exceptions are elements", "[stream]") {
  int at = 0;
  for (auto& outcome : fm::parallel(1).stream_outcomes(
           [](int i) {
             if (i == 2) throw std::logic_error("two");
             return std::make_unique<int>(i);
           },
           std::views::iota(0, 5))) {
    REQUIRE(outcome.has_value() == (at != 2));
    if (outcome) CHECK(*std::move(outcome).value() == at);
    ++at;
  }
  CHECK(at == 5);
}

TEST_CASE("stream_outcomes: a task that times out is an element, after its retries", "[stream]") {
  using namespace std::chrono_literals;
  auto const task = [](int i) {
    if (i == 1) {
      for (;;) ::pause();
    }
    if (i == 2 && fm::this_task::attempt() == 0) ::raise(SIGKILL);
    return i;
  };
  auto const check = [&](auto const& workers) {
    int at = 0;
    for (auto const& outcome : workers.stream_outcomes(task, std::views::iota(0, 4))) {
      REQUIRE(outcome.has_value() == (at != 1));
      if (!outcome) {
        CHECK(outcome.error().reason == fm::failure::timed_out);
        CHECK(outcome.error().attempt() == 1);
      }
      ++at;
    }
    CHECK(at == 4);
  };
  fm::options const opts{.n_jobs = 2, .timeout = 200ms, .retries = 1};
  check(fm::parallel(opts));
  check(fm::pool(opts));
}

TEST_CASE("stream_outcomes: an exception of the range or of worker_init ends the stream",
          "[stream]") {
  auto const check_range = [](auto const& workers) {
    auto const tasks = std::views::iota(0) | std::views::transform([](int i) {
                         if (i == 3) throw std::runtime_error("no more");
                         return fm::delayed(fail_often)(i);
                       });
    int n = 0;
    CHECK_THROWS_WITH(
        [&] {
          for (auto const& outcome : workers.stream_outcomes(tasks)) check_outcome(outcome, n++);
        }(),
        "no more");
    CHECK(n == 3);
  };
  check_range(fm::pool(2));
  fm::options const opts{.n_jobs = 2,
                         .worker_init = [](int) { throw std::runtime_error("no licence"); }};
  auto const check_init = [](auto const& workers) {
    CHECK_THROWS_WITH(
        [&] {
          for (auto const& outcome : workers.stream_outcomes(fail_often, std::views::iota(0, 9)))
            static_cast<void>(outcome);
        }(),
        "no licence");
  };
  check_init(fm::pool(opts));
  check_init(fm::parallel(opts));
}

TEST_CASE("stream_outcomes: after its deadline the other tasks are never_started", "[stream]") {
  using namespace std::chrono_literals;
  int n = 0;
  for (auto const& outcome : fm::parallel({.n_jobs = 2, .deadline = 300ms})
                                 .stream_outcomes(
                                     [](int i) {
                                       if (i < 2) return i;
                                       for (;;) ::pause();
                                     },
                                     std::views::iota(0, 12))) {
    if (n >= 2) REQUIRE_FALSE(outcome);  // before, it depends on how long workers take to start
    if (!outcome) {
      CHECK((outcome.error().reason == fm::failure::cancelled ||
             outcome.error().reason == fm::failure::never_started));
      CHECK_THROWS_AS(outcome.value(), fm::deadline_exceeded);
    }
    ++n;
  }
  CHECK(n == 12);
}

TEST_CASE("failure: its text names the task, the reason and the exception", "[failure]") {
  auto const outcomes = fm::parallel(2).outcomes(fail_often, std::views::iota(0, 7));
  CHECK(to_string(outcomes[4].error()) == "task 4 threw std::out_of_range: four");
  auto const crash = to_string(outcomes[2].error());
  CHECK(crash.starts_with("task 2 killed its worker (pid "));
  CHECK(crash.find("SIGSEGV") != std::string::npos);
  std::ostringstream out;
  out << outcomes[4].error() << '\n';
  CHECK(out.str() == "task 4 threw std::out_of_range: four\n");
  CHECK(to_string(fm::failure::never_started) == "never started");
  CHECK(to_string(fm::failure::timed_out) == "timed out");
}
