// What does a failure cost? The times from a worker's crash until the caller is notified and until
// a replacement runs a task, and from a task's time limit until the task ends.
// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <ranges>

#include <forkmap/forkmap.hpp>

#include "support/by_hand.hpp"
#include "support/paired.hpp"

namespace fm = forkmap;
using bench::by_hand::check;

namespace {

using clock_type = std::chrono::steady_clock;

/// A point in time that one process stores and another reads.
class shared_moment {
 public:
  void set() { at_[0] = clock_type::now().time_since_epoch().count(); }
  double seconds_since() const {
    return std::chrono::duration<double>(clock_type::now().time_since_epoch() -
                                         clock_type::duration(at_[0]))
        .count();
  }
  double seconds_since(shared_moment const& other) const {
    return std::chrono::duration<double>(clock_type::duration(at_[0] - other.at_[0])).count();
  }

 private:
  fm::shared_array<clock_type::rep> at_{{1}};
};

[[noreturn]] void die(shared_moment& death) {
  death.set();
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

void wait_for(pid_t child) {
  int status = 0;
  check(::waitpid(child, &status, 0) == child, "waitpid");
}

void death_to_caller(benchmark::State& state) {
  shared_moment death;
  bench::in_turns(
      state,
      {.text = "from a worker's death to the caller's knowing it / waitpid", .ratio_target = 1.5},
      [&] {
        auto const child = ::fork();
        if (child == 0) die(death);
        wait_for(child);
        return death.seconds_since();
      },
      [&] {
        double knows = 0;
        try {
          fm::parallel({.n_jobs = 1, .isolate = true})([&] { die(death); });
        } catch (fm::worker_died const&) {
          knows = death.seconds_since();
        }
        return knows;
      });
}
BENCHMARK(death_to_caller)->Iterations(301)->UseManualTime()->Unit(benchmark::kMicrosecond);

void death_to_replacement(benchmark::State& state) {
  shared_moment death;
  shared_moment next;
  bench::in_turns(
      state,
      {.text = "from a worker's death to the next task in its replacement / waitpid and fork",
       .ratio_target = 1.3},
      [&] {
        auto const child = ::fork();
        if (child == 0) die(death);
        wait_for(child);
        bench::by_hand::fork_and_wait(1, [&] { next.set(); });
        return next.seconds_since(death);
      },
      [&] {
        auto const outcomes =
            fm::parallel({.n_jobs = 1, .isolate = true})
                .outcomes(std::views::iota(0, 2) | std::views::transform([&](int i) {
                            return [&, i] { i == 0 ? die(death) : next.set(); };
                          }));
        check(!outcomes[0] && outcomes[1], "the second task");
        return next.seconds_since(death);
      });
}
BENCHMARK(death_to_replacement)->Iterations(301)->UseManualTime()->Unit(benchmark::kMicrosecond);

void limit_to_end(benchmark::State& state) {
  constexpr std::chrono::milliseconds limit{20};
  shared_moment start;
  auto const beyond_limit = [&] {
    return start.seconds_since() - std::chrono::duration<double>(limit).count();
  };
  auto const stuck = [&] {
    start.set();
    for (;;) ::pause();
  };
  bench::in_turns(
      state,
      {.text = "from a task's limit to its end, its stack noted / sleep, SIGKILL and waitpid",
       .limit = 0.003},
      [&] {
        auto const child = ::fork();
        if (child == 0) stuck();
        ::usleep(std::chrono::microseconds(limit).count());
        ::kill(child, SIGKILL);
        wait_for(child);
        return beyond_limit();
      },
      [&] {
        double ended = 0;
        try {
          fm::parallel({.n_jobs = 1, .timeout = limit})(stuck);
        } catch (fm::task_timeout const&) {
          ended = beyond_limit();
        }
        return ended;
      });
}
BENCHMARK(limit_to_end)->Iterations(101)->UseManualTime()->Unit(benchmark::kMicrosecond);

}  // namespace
