// Failures in a pool: tasks that fail or exceed limits, and workers, callers and fork servers that
// are killed.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <new>
#include <ranges>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"
#include "support/pool_tasks.hpp"
#include "support/sanitizers.hpp"
#include "support/tasks.hpp"
#include "support/temporary_directory.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;

namespace {
using support::die_at_three;
using support::fail_at_three;
using support::stay;
using support::sum;
using support::text_of;
using support::wrapping_square;
}  // namespace

TEST_CASE("pool: failures are reported as by parallel()", "[pool]") {
  fm::pool const workers(2);
  for (int round = 0; round != 3; ++round) {
    try {
      workers(support::portable_tasks_of(9, fail_at_three));
      FAIL("nothing was thrown");
    } catch (std::invalid_argument const& e) {
      REQUIRE(std::string(e.what()) == "three");
      REQUIRE(dynamic_cast<fm::task_context const&>(e).index() == 3);
    }
    auto const outcomes = workers.outcomes(support::portable_tasks_of(9, fail_at_three));
    for (int i = 0; i != 9; ++i)
      REQUIRE(outcomes[static_cast<std::size_t>(i)].has_value() == (i != 3));
    try {
      workers(support::portable_tasks_of(9, die_at_three));
      FAIL("nothing was thrown");
    } catch (fm::worker_died const& e) {
      REQUIRE(e.signal() == SIGSEGV);
      REQUIRE(e.index() == 3);
      REQUIRE_THAT(e.trace(), ContainsSubstring("die_at_three"));
    }
    auto const deaths = workers.outcomes(support::portable_tasks_of(9, die_at_three));
    for (int i = 0; i != 9; ++i)
      REQUIRE(deaths[static_cast<std::size_t>(i)].has_value() == (i != 3));
    REQUIRE(deaths[3].error().reason == fm::failure::died);
    REQUIRE(workers.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
  }
}

TEST_CASE("pool: a failure ends the other tasks of its call promptly", "[pool]") {
  fm::pool const workers(2);
  auto const begin = std::chrono::steady_clock::now();
  REQUIRE_THROWS_AS(workers(support::portable_tasks_of(2,
                                                       [](int i) {
                                                         if (i == 1)
                                                           throw std::runtime_error("now");
                                                         return stay(i);
                                                       })),
                    std::runtime_error);
  REQUIRE(std::chrono::steady_clock::now() - begin < 20s);
  REQUIRE(workers.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
}

TEST_CASE("pool: timeout, deadline, stop and retries work as in parallel()", "[pool]") {
  {
    fm::pool const workers(fm::options{.n_jobs = 2, .timeout = 50ms});
    auto const outcomes =
        workers.outcomes(support::portable_tasks_of(5, [](int i) { return i == 2 ? stay(i) : i; }));
    for (int i = 0; i != 5; ++i)
      REQUIRE(outcomes[static_cast<std::size_t>(i)].has_value() == (i != 2));
    REQUIRE(outcomes[2].error().reason == fm::failure::timed_out);
    if (!support::address_sanitizer)
      REQUIRE_THAT(outcomes[2].error().trace(), ContainsSubstring("stay"));
    REQUIRE(workers.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
  }
  {
    fm::pool const workers(fm::options{.n_jobs = 2, .deadline = 200ms});
    REQUIRE_THROWS_AS(workers(support::portable_tasks_of(3, stay)), fm::deadline_exceeded);
    REQUIRE(workers.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
    auto const outcomes =
        workers.outcomes(support::portable_tasks_of(4, [](int i) { return i < 2 ? i : stay(i); }));
    REQUIRE(*outcomes[0] == 0);
    REQUIRE(*outcomes[1] == 1);
    REQUIRE(outcomes[2].error().reason == fm::failure::cancelled);
    REQUIRE(outcomes[3].error().reason == fm::failure::cancelled);
  }
  {
    std::stop_source source;
    fm::pool const workers(fm::options{.n_jobs = 2, .stop = source.get_token()});
    std::thread const stopper([&] {
      std::this_thread::sleep_for(20ms);
      source.request_stop();
    });
    REQUIRE_THROWS_AS(workers(support::portable_tasks_of(3, stay)), fm::task_cancelled);
    const_cast<std::thread&>(stopper).join();
  }
  {
    fm::shared_array<int> attempts({4});
    fm::pool const workers(fm::options{.n_jobs = 2, .retries = 2});
    auto const outcomes =
        workers.outcomes(support::count_to(4) | std::views::transform([&](int i) {
                           return fm::delayed([](fm::shared_array<int> runs, int k) {
                             auto const n = ++runs[static_cast<std::size_t>(k)];
                             if (k == 1 || (k == 2 && n < 3)) ::raise(SIGKILL);
                             return fm::this_task::attempt();
                           })(attempts, i);
                         }));
    REQUIRE(*outcomes[0] == 0);
    REQUIRE(!outcomes[1]);
    REQUIRE(outcomes[1].error().attempt() == 2);
    REQUIRE(*outcomes[2] == 2);
    REQUIRE(attempts[1] == 3);
    REQUIRE(attempts[3] == 1);
  }
}

TEST_CASE("pool: workers are replaced after max_tasks_per_worker tasks, and hooks run in each",
          "[pool]") {
  support::temporary_directory const folder;
  auto const log = folder.path() / "log";
  auto const note = [log](char const* event) {
    return [log, event](int) {
      std::FILE* const file = std::fopen(log.c_str(), "a");
      std::fputs(event, file);
      std::fclose(file);
    };
  };
  {
    fm::pool const workers(fm::options{.n_jobs = 1,
                                       .max_tasks_per_worker = 3,
                                       .worker_init = note("i"),
                                       .worker_exit = note("e")});
    auto const pids = workers(std::vector(7, &::getpid));
    REQUIRE(std::ranges::count(pids, pids[0]) == 3);
    REQUIRE(std::ranges::count(pids, pids[3]) == 3);
    REQUIRE(pids[6] != pids[3]);
    auto const more = workers(std::vector(2, &::getpid));
    REQUIRE(more == std::vector(2, pids[6]));
  }
  std::FILE* const file = std::fopen(log.c_str(), "r");
  char text[32]{};
  REQUIRE(std::fread(text, 1, sizeof text, file) > 0);
  std::fclose(file);
  // The last worker may have been replaced after its third task.
  std::string const events = text;
  REQUIRE(std::ranges::count(events, 'i') == std::ranges::count(events, 'e'));
  REQUIRE(std::ranges::count(events, 'i') >= 3);
}

TEST_CASE("pool: each call throws the exception of worker_init", "[pool]") {
  fm::pool const workers(
      fm::options{.n_jobs = 2, .worker_init = [](int) { throw std::runtime_error("no licence"); }});
  for (int round = 0; round != 2; ++round) {
    try {
      workers.map(wrapping_square, support::count_to(4));
      FAIL("nothing was thrown");
    } catch (std::runtime_error const& e) {
      REQUIRE(std::string(e.what()) == "no licence");
      REQUIRE(dynamic_cast<fm::task_context const&>(e).index() == static_cast<std::size_t>(-1));
    }
  }
}

TEST_CASE("pool: beyond its memory limit a task throws bad_alloc, or the call fails", "[pool]") {
  if (support::shadow_memory) return;  // shadow memory counts as address space
  fm::pool const workers(fm::options{.n_jobs = 2, .memory_limit = 200U << 20U});
  auto const fill = [](int i) {
    return std::string(i == 1 ? std::size_t{1} << 30U : 10, 'x').size();
  };
  auto const outcomes = workers.outcomes(support::portable_tasks_of(3, fill));
  REQUIRE(*outcomes[0] == 10);
  REQUIRE_THROWS_AS(outcomes[1].value(), std::bad_alloc);
  REQUIRE(*outcomes[2] == 10);
  // Arguments that do not fit into the memory limit of the workers.
  std::vector<double> const xs(40'000'000);
  REQUIRE_THROWS_AS(workers(fm::delayed(sum)(std::cref(xs))), std::system_error);
  REQUIRE(workers.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
}

TEST_CASE("pool: a caller that is killed leaves no process", "[pool]") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  auto const child = ::fork();
  if (child == 0) {
    fm::pool const workers(2);
    auto const pids = workers(std::vector(2, &::getpid));
    static_cast<void>(!::write(ends[1], pids.data(), 2 * sizeof(pid_t)));
    workers(support::portable_tasks_of(2, stay));
  }
  pid_t pids[2];
  REQUIRE(::read(ends[0], pids, sizeof pids) == sizeof pids);
  auto const family = support::child_processes(child);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  REQUIRE(support::wait_until([&] {
    return std::ranges::none_of(family, [](pid_t pid) { return support::is_running(pid); });
  }));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("pool: calls throw system_error after the fork server is killed", "[pool]") {
  fm::pool const workers(2);
  auto const fork_server = std::get<0>(workers(&::getppid));
  std::jthread const killer([fork_server] {
    std::this_thread::sleep_for(20ms);
    ::kill(fork_server, SIGKILL);
  });
  try {
    workers(support::portable_tasks_of(2, stay));
    FAIL("nothing was thrown");
  } catch (std::system_error const& e) {
    REQUIRE_THAT(e.what(), ContainsSubstring("make a new pool"));
  }
  REQUIRE_THROWS_AS(workers.map(wrapping_square, support::count_to(3)), std::system_error);
}

TEST_CASE("pool: killing workers at random fails only the tasks that they were running", "[pool]") {
  constexpr int n = support::shadow_memory ? 2'000 : 20'000;
  fm::pool const workers(fm::options{.n_jobs = 4});
  auto const parent = std::get<0>(workers(&::getppid));
  std::jthread killer([parent](std::stop_token const& stop) {
    unsigned random = 7;
    while (!stop.stop_requested()) {
      auto const children = support::child_processes(parent);
      random = random * 1664525U + 1013904223U;
      if (!children.empty()) ::kill(children[(random >> 16U) % children.size()], SIGKILL);
      std::this_thread::sleep_for(std::chrono::microseconds((random >> 8U) % 4000));
    }
  });
  int wrong = 0;
  int deaths = 0;
  // Repeat: a call may end before a worker is killed in a task.
  for (int calls = 0; deaths == 0 && wrong == 0 && calls != 1'000; ++calls) {
    fm::shared_array<int> began({n});
    fm::shared_array<int> ended({n});
    auto const outcomes = workers.outcomes(
        support::count_to(n) | std::views::transform([&](int i) {
          return fm::delayed([](fm::shared_array<int> b, fm::shared_array<int> e, int k) {
            ++b[static_cast<std::size_t>(k)];
            // Make the task long enough to be hit by a kill.
            for (int volatile x = 0; x < 20'000;) x = x + 1;
            ++e[static_cast<std::size_t>(k)];
            return text_of(k);
          })(began, ended, i);
        }));
    for (int i = 0; i != n; ++i) {
      auto const at = static_cast<std::size_t>(i);
      bool const right = outcomes[at] ? *outcomes[at] == text_of(i) && ended[at] == 1
                                      : outcomes[at].error().reason == fm::failure::died;
      wrong += !right || began[at] > 1;
      deaths += !outcomes[at];
    }
  }
  killer.request_stop();
  killer.join();
  REQUIRE(wrong == 0);
  REQUIRE(deaths > 0);
}
