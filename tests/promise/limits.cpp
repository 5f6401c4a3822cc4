// Time limits, retries and limits of workers.
// SPDX-License-Identifier: MIT
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"
#include "support/sanitizers.hpp"
#include "support/tasks.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;

namespace {

[[noreturn, gnu::noinline]] void wait_for_ever() {
  for (;;) ::pause();
}

[[noreturn, gnu::noinline]] void run_for_ever() {
  for (int volatile i = 0;;) i = 1 - i;
}

void block_all_signals() {
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

TEST_CASE("timeout: a task that runs longer than its limit is ended, and no other", "[limits]") {
  for (int const n_jobs : {1, 2, 3}) {
    auto const outcomes =
        fm::parallel({.n_jobs = n_jobs, .timeout = 50ms}).outcomes(support::tasks_of(20, [](int i) {
          if (i == 3) wait_for_ever();
          if (i == 11) run_for_ever();
          return i;
        }));
    for (std::size_t i = 0; i != 20; ++i) {
      if (i == 3 || i == 11) {
        REQUIRE(!outcomes[i]);
        REQUIRE(outcomes[i].error().reason == fm::failure::timed_out);
        REQUIRE(outcomes[i].error().index() == i);
        REQUIRE_THROWS_AS(outcomes[i].value(), fm::task_timeout);
      } else {
        REQUIRE(outcomes[i]);
        REQUIRE(*outcomes[i] == static_cast<int>(i));
      }
    }
  }
}

TEST_CASE("timeout: the call throws task_timeout, which names the task and the limit", "[limits]") {
  try {
    fm::parallel({.n_jobs = 2, .timeout = 60ms})(support::tasks_of(4, [](int i) {
      if (i == 2) wait_for_ever();
    }));
    FAIL("nothing was thrown");
  } catch (fm::task_timeout const& e) {
    REQUIRE_THAT(e.what(), ContainsSubstring("task 2 ran longer than its limit of 60 ms"));
    REQUIRE(e.index() == 2);
    REQUIRE(e.worker_pid() > 0);
  }
}

TEST_CASE("timeout: trace() shows where the task was when it timed out", "[limits]") {
  // TSan delivers signals only when the program enters a system call.
  if (support::thread_sanitizer) return;
  auto const where = [](auto task) {
    auto const outcomes = fm::parallel({.n_jobs = 1, .timeout = 40ms}).outcomes(std::vector{task});
    REQUIRE(outcomes[0].error().reason == fm::failure::timed_out);
    return outcomes[0].error().trace();
  };
  REQUIRE_THAT(where(+[] { run_for_ever(); }), ContainsSubstring("run_for_ever"));
  REQUIRE_THAT(where(+[] { wait_for_ever(); }), ContainsSubstring("wait_for_ever"));
  // A task that blocks the signal is described from /proc.
  REQUIRE_THAT(where(+[] {
                 block_all_signals();
                 wait_for_ever();
               }),
               ContainsSubstring("/proc says: state S") && ContainsSubstring("pause"));
  REQUIRE_THAT(where(+[] {
                 block_all_signals();
                 run_for_ever();
               }),
               ContainsSubstring("/proc says: state R"));
}

TEST_CASE("timeout: processes that the task has started end with it", "[limits]") {
  auto* const pids = static_cast<std::atomic<pid_t>*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  auto const start_some = [&](int i) {
    if (i == 0) return;
    // Start an orphan in a session of its own, and a child.
    if (pid_t const child = ::fork(); child == 0) {
      if (::fork() == 0) {
        ::setsid();
        pids[1] = ::getpid();
        wait_for_ever();
      }
      while (pids[1] == 0) ::sched_yield();
      ::_exit(0);
    } else {
      ::waitpid(child, nullptr, 0);
    }
    if (::fork() == 0) {
      pids[0] = ::getpid();
      wait_for_ever();
    }
    wait_for_ever();
  };
  // Use longer limits until the processes have started within the limit.
  for (std::chrono::milliseconds limit = 100ms; pids[0] == 0 && limit < 60s; limit *= 3) {
    pids[1] = 0;
    fm::parallel({.n_jobs = 2, .timeout = limit}).outcomes(support::tasks_of(2, start_some));
  }
  REQUIRE(pids[0] != 0);
  REQUIRE(pids[1] != 0);
  REQUIRE(!support::is_running(pids[0]));
  REQUIRE(!support::is_running(pids[1]));
  ::munmap(pids, 4096);
}

TEST_CASE("timeout: a limit that no task exceeds does not disturb many short tasks", "[limits]") {
  auto const xs = fm::parallel({.n_jobs = 2, .timeout = 30s})
                      .map([](int i) { return 2 * i; }, std::views::iota(0, 50'000));
  for (int i = 0; i != 50'000; ++i) REQUIRE(xs[static_cast<std::size_t>(i)] == 2 * i);
  auto const sum =
      fm::parallel({.n_jobs = 3, .timeout = 30s})
          .reduce(support::tasks_of(5000, [](int i) { return i; }), 0L, std::plus<long>());
  REQUIRE(sum == 4999L * 5000 / 2);
}

TEST_CASE("timeout: in reduce the limit applies to each task, not to a batch", "[limits]") {
  auto const fold = [](int endless) {
    return fm::parallel({.n_jobs = 2, .timeout = 400ms, .batch_size = 16})
        .reduce(support::tasks_of(32,
                                  [=](int i) {
                                    if (i == endless) wait_for_ever();
                                    ::usleep(50'000);  // a batch takes 800 ms
                                    return i;
                                  }),
                0, std::plus<int>());
  };
  REQUIRE(fold(-1) == 31 * 32 / 2);
  try {
    fold(21);
    FAIL("nothing was thrown");
  } catch (fm::task_timeout const& e) {
    REQUIRE(e.index() == 21);
  }
}

TEST_CASE("timeout: durations of all types are accepted, and invalid values are refused",
          "[limits]") {
  REQUIRE(fm::time_limit(1.5s).value() == 1'500'000'000ns);
  REQUIRE(fm::time_limit(20ms).value() == 20'000'000ns);
  REQUIRE(fm::time_limit(std::chrono::duration<float>(0.25F)).value() == 250ms);
  REQUIRE(!fm::time_limit().is_set());
  REQUIRE(!fm::time_limit(std::chrono::hours::max()).is_set());
  REQUIRE(!fm::time_limit(std::chrono::duration<double>(1e300)).is_set());
  REQUIRE_THROWS_AS(fm::time_limit(std::chrono::duration<double>(std::nan(""))),
                    std::invalid_argument);
  REQUIRE_THROWS_WITH(fm::parallel({.timeout = 0s}), ContainsSubstring("timeout is 0 ms"));
  REQUIRE_THROWS_AS(fm::parallel({.timeout = -1s}), std::invalid_argument);
  REQUIRE_THROWS_WITH(fm::parallel({.retries = -1}), ContainsSubstring("retries is -1"));
  REQUIRE_THROWS_AS(fm::parallel({.max_tasks_per_worker = -1}), std::invalid_argument);
  REQUIRE_THROWS_AS(fm::parallel({.inner_threads = -1}), std::invalid_argument);
}

TEST_CASE("deadline: outcomes() has the results of tasks that have ended", "[limits]") {
  auto const outcomes =
      fm::parallel({.n_jobs = 2, .deadline = 300ms}).outcomes(support::tasks_of(10, [](int i) {
        if (i == 4 || i == 5) wait_for_ever();
        return std::to_string(i);
      }));
  for (std::size_t i = 0; i != 10; ++i) {
    if (i < 4) {
      REQUIRE(*outcomes[i] == std::to_string(i));
    } else {
      REQUIRE(outcomes[i].error().reason ==
              (i < 6 ? fm::failure::cancelled : fm::failure::never_started));
      REQUIRE_THROWS_AS(outcomes[i].value(), fm::deadline_exceeded);
    }
  }
}

TEST_CASE("deadline: other calls throw deadline_exceeded for the first unfinished task",
          "[limits]") {
  auto const must_exceed = [](auto call, std::size_t first) {
    // On a slow machine, tasks before `first` may exceed the limit: try a longer one.
    for (std::chrono::milliseconds limit = 100ms;; limit *= 3) {
      try {
        call(fm::parallel({.n_jobs = 2, .deadline = limit}));
        FAIL("nothing was thrown");
      } catch (fm::deadline_exceeded const& e) {
        if (e.index() < first && limit < 20s) continue;
        REQUIRE(e.index() == first);
        REQUIRE_THAT(e.what(), ContainsSubstring("deadline"));
        return;
      }
    }
  };
  auto const endless = [](int i) {
    if (i > 0) wait_for_ever();
    return i;
  };
  must_exceed([&](auto const& map) { map(support::tasks_of(5, endless)); }, 1);
  must_exceed([&](auto const& map) { map.map(endless, std::views::iota(0, 5)); }, 1);
  must_exceed(
      [&](auto const& map) { map.first(support::tasks_of(5, [](int) { wait_for_ever(); })); }, 0);
  must_exceed([&](auto const& map) { map([] { return 1; }, [] { wait_for_ever(); }); }, 1);
  // A deadline that has passed before the call begins.
  REQUIRE_THROWS_AS(fm::parallel({.n_jobs = 2, .deadline = 0s})(support::tasks_of(5, endless)),
                    fm::deadline_exceeded);
  REQUIRE_THROWS_AS(fm::parallel({.n_jobs = 2, .deadline = -1s})(support::tasks_of(5, endless)),
                    fm::deadline_exceeded);
  REQUIRE(fm::parallel({.n_jobs = 2, .deadline = 60s})(
              support::tasks_of(3, [](int i) { return i; })) == std::vector{0, 1, 2});
}

TEST_CASE("retries: a task that crashed or timed out is retried, a task that threw is not",
          "[limits]") {
  for (std::size_t const batch : {std::size_t{0}, std::size_t{4}}) {
    fm::shared_array<int> runs({12});
    auto const outcomes =
        fm::parallel({.n_jobs = 2, .timeout = 100ms, .retries = 2, .batch_size = batch})
            .outcomes(support::tasks_of(12, [&](int i) {
              auto const attempt = fm::this_task::attempt();
              ++runs[static_cast<std::size_t>(i)];
              if (i == 2 && attempt < 1) ::raise(SIGKILL);
              if (i == 5 && attempt < 2) wait_for_ever();
              if (i == 7) ::_exit(3);
              if (i == 9) throw std::runtime_error("no");
              return attempt;
            }));
    for (std::size_t i = 0; i != 12; ++i) {
      INFO(i);
      REQUIRE(runs[i] == (i == 2 ? 2 : i == 5 || i == 7 ? 3 : 1));
      if (i == 7) {
        REQUIRE(outcomes[i].error().reason == fm::failure::died);
        REQUIRE(outcomes[i].error().attempt() == 2);
      } else if (i == 9) {
        REQUIRE(outcomes[i].error().reason == fm::failure::threw);
        REQUIRE(outcomes[i].error().attempt() == 0);
      } else {
        REQUIRE(*outcomes[i] == (i == 2 ? 1 : i == 5 ? 2 : 0));
      }
    }
    auto const report = fm::last_report();
    REQUIRE(report.retries == 1 + 2 + 2);
    REQUIRE(report.failures == 2);
  }
}

TEST_CASE("retries: a failure has the number of its attempt", "[limits]") {
  auto const outcomes =
      fm::parallel({.n_jobs = 2, .retries = 1}).outcomes(support::tasks_of(4, [](int i) {
        if (i == 1 && fm::this_task::attempt() == 0) ::raise(SIGKILL);
        if (i == 1) throw std::runtime_error("later");
      }));
  REQUIRE(outcomes[1].error().reason == fm::failure::threw);
  REQUIRE(outcomes[1].error().attempt() == 1);
}

TEST_CASE("retries: a lost batch of reduce runs again from its start", "[limits]") {
  fm::shared_array<int> runs({100});
  auto const sum = fm::parallel({.n_jobs = 3, .retries = 1, .batch_size = 10})
                       .reduce(support::tasks_of(100,
                                                 [&](int i) {
                                                   ++runs[static_cast<std::size_t>(i)];
                                                   if (i == 55 && fm::this_task::attempt() == 0)
                                                     ::raise(SIGKILL);
                                                   return std::string(1, 'x');
                                                 }),
                               std::string(), std::plus<std::string>());
  REQUIRE(sum == std::string(100, 'x'));
  for (std::size_t i = 0; i != 100; ++i) REQUIRE(runs[i] == (i >= 50 && i <= 55 ? 2 : 1));
}

TEST_CASE("max_tasks_per_worker: a worker is replaced after that many tasks", "[limits]") {
  for (std::size_t const batch : {std::size_t{0}, std::size_t{1}, std::size_t{7}}) {
    for (int const most : {1, 3, 100}) {
      auto const pids =
          fm::parallel({.n_jobs = 2, .batch_size = batch, .max_tasks_per_worker = most})
              .map([](int) { return ::getpid(); }, std::views::iota(0, 50));
      std::map<pid_t, int> tasks_of_worker;
      for (auto const pid : pids) ++tasks_of_worker[pid];
      for (auto const& [pid, tasks] : tasks_of_worker) REQUIRE(tasks <= most);
    }
  }
  // Above 1000 tasks, workers claim several tasks at a time.
  fm::shared_array<int> runs({3000});
  fm::parallel({.n_jobs = 2, .max_tasks_per_worker = 500})(
      support::tasks_of(3000, [&](int i) { ++runs[static_cast<std::size_t>(i)]; }));
  REQUIRE(std::count(runs.begin(), runs.end(), 1) == 3000);
}

TEST_CASE("max_tasks_per_worker: every replacement runs worker_init and worker_exit", "[limits]") {
  fm::shared_array<int> hooks({2});
  fm::parallel({.n_jobs = 1,
                .max_tasks_per_worker = 2,
                .worker_init = [&](int) { ++hooks[0]; },
                .worker_exit = [&](int) { ++hooks[1]; }})(support::tasks_of(6, [](int) {}));
  REQUIRE(hooks[0] == 3);
  REQUIRE(hooks[1] == 3);
}

TEST_CASE("memory_limit: an allocation beyond it fails only in its task", "[limits]") {
  if (support::thread_sanitizer) return;  // TSan's allocator ends the process instead
  auto const outcomes =
      fm::parallel({.n_jobs = 2, .memory_limit = std::size_t{256} << 20U})
          .outcomes(support::tasks_of(6, [](int i) {
            // malloc, because new never fails under AddressSanitizer.
            auto const n = i == 3 ? std::size_t{2} << 30U : 1'000'000;
            std::unique_ptr<void, void (*)(void*)> const v(std::malloc(n), std::free);
            asm volatile("" : : "r"(v.get()) : "memory");  // keeps the unused allocation
            if (!v) throw std::bad_alloc();
            return n;
          }));
  for (std::size_t i = 0; i != 6; ++i) {
    if (i == 3)
      REQUIRE_THROWS_AS(outcomes[i].value(), std::bad_alloc);
    else
      REQUIRE(*outcomes[i] == 1'000'000);
  }
}

TEST_CASE("pin: worker k is pinned to the k-th usable core", "[limits]") {
  cpu_set_t usable;
  REQUIRE(::sched_getaffinity(0, sizeof usable, &usable) == 0);
  auto const cores = fm::parallel({.n_jobs = 3, .pin = true})(support::tasks_of(6, [](int) {
    cpu_set_t mine;
    ::sched_getaffinity(0, sizeof mine, &mine);
    std::size_t core = 0;
    while (!CPU_ISSET(core, &mine)) ++core;
    return std::vector{fm::this_task::worker(), CPU_COUNT(&mine), static_cast<int>(core)};
  }));
  for (auto const& seen : cores) {
    int nth = seen[0] % CPU_COUNT(&usable);
    std::size_t core = 0;
    while (!CPU_ISSET(core, &usable) || nth-- != 0) ++core;
    REQUIRE(seen[1] == 1);
    REQUIRE(seen[2] == static_cast<int>(core));
  }
}

TEST_CASE("first: returns the first result, even if other tasks fail, crash or hang", "[limits]") {
  auto const one = fm::parallel(3).first(support::tasks_of(6, [](int i) {
    if (i == 0) throw std::runtime_error("no");
    if (i == 1) ::raise(SIGKILL);
    if (i == 2) wait_for_ever();
    return std::string("from ") + std::to_string(i);
  }));
  REQUIRE(one.index >= 3);
  REQUIRE(one.value == "from " + std::to_string(one.index));
  for (int const n_jobs : {1, 2}) {
    auto const number = fm::parallel(n_jobs).first(support::tasks_of(3, [](int i) {
      if (i < 2) throw std::runtime_error("no");
      return i;
    }));
    REQUIRE(number.index == 2);
    REQUIRE(number.value == 2);
    fm::indexed<void> const nothing = fm::parallel(n_jobs).first(support::tasks_of(1, [](int) {}));
    REQUIRE(nothing.index == 0);
    try {
      fm::parallel(n_jobs).first(
          support::tasks_of(4, [](int i) { throw std::out_of_range(std::to_string(i)); }));
      FAIL("nothing was thrown");
    } catch (std::out_of_range const& e) {
      REQUIRE(e.what() == std::string("0"));
    }
    REQUIRE_THROWS_AS(fm::parallel(n_jobs).first(support::tasks_of(0, [](int i) { return i; })),
                      std::invalid_argument);
  }
}

TEST_CASE("report: last_report() describes the last call of this thread", "[limits]") {
  fm::parallel(2).map([](int i) { ::usleep(i == 5 ? 60'000 : 100); }, std::views::iota(0, 20));
  auto const report = fm::last_report();
  REQUIRE(report.tasks == 20);
  REQUIRE(report.failures == 0);
  REQUIRE(report.workers.size() == 2);
  REQUIRE(report.workers[0].tasks + report.workers[1].tasks == 20);
  REQUIRE(report.wall >= 60ms);
  REQUIRE(report.max_rss > 100'000);
  REQUIRE(report.unshared > 0);
  // On a busy machine, another task may take as long as task 5.
  auto const slow = std::ranges::find(report.slowest, std::size_t{5}, &fm::slow_task::index);
  REQUIRE(slow != report.slowest.end());
  REQUIRE(slow->took >= 60ms);
  REQUIRE(report.slowest.front().took >= slow->took);
  for (auto const& worker : report.workers) {
    REQUIRE(worker.start_up > 0ns);
    REQUIRE(worker.start_up + worker.busy + worker.idle <= report.wall + 1ms);
  }
  fm::parallel(1).map([](int i) { return i; }, std::views::iota(0, 7));
  REQUIRE(fm::last_report().tasks == 7);
  REQUIRE(fm::last_report().workers.size() == 1);
  REQUIRE(fm::last_report().workers[0].tasks == 7);
  fm::parallel(3).reduce(support::tasks_of(10, [](int i) { return i; }), 0, std::plus<int>());
  REQUIRE(fm::last_report().tasks == 10);
  fm::parallel(3).map([](int i) { return i; }, std::views::iota(0, 0));
  REQUIRE(fm::last_report().tasks == 0);
}
