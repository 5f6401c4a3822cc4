// A long map whose program is killed half-way, for example by a power failure or a batch system,
// and started again. The second run computes only the missing results.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

constexpr int n_tasks = 40;

/// The largest number of steps that the Collatz sequences of 20 000 starts need to reach 1.
int slow_task(int i) {
  int most = 0;
  for (long start = 20'000L * i + 1; start <= 20'000L * (i + 1); ++start) {
    int steps = 0;
    for (auto x = start; x != 1; x = x % 2 == 0 ? x / 2 : 3 * x + 1) ++steps;
    most = steps > most ? steps : most;
  }
  return most;
}

/// The program's long map. `done` counts finished tasks for the process that waits.
std::vector<int> long_map(std::filesystem::path const& journal, fm::shared_array<int> const& done) {
  return fm::parallel({.n_jobs = 2, .resume = journal})
      .map(
          [&](int i) {
            auto const steps = slow_task(i);
            done[static_cast<std::size_t>(i)] = 1;
            return steps;
          },
          std::views::iota(0, n_tasks));
}

int count(fm::shared_array<int> const& done) {
  int n = 0;
  for (auto const each : done) n += each;
  return n;
}

}  // namespace

int main() {
  auto const journal =
      std::filesystem::temp_directory_path() / ("forkmap-resume-" + std::to_string(::getpid()));
  fm::shared_array<int> const done({n_tasks});

  // The first run, in a child process, so that this process can kill it.
  auto const first_run = ::fork();
  if (first_run == 0) {
    long_map(journal, done);
    ::_exit(0);
  }
  while (count(done) < n_tasks / 2) std::this_thread::sleep_for(1ms);
  ::kill(first_run, SIGKILL);
  ::waitpid(first_run, nullptr, 0);
  std::printf("killed by SIGKILL after %d of %d tasks\n", count(done), n_tasks);

  auto const results = long_map(journal, done);
  auto const report = fm::last_report();
  std::printf("run again: %zu results from the journal, %zu tasks run\n", report.resumed,
              report.tasks - report.resumed);

  try {
    fm::parallel({.n_jobs = 2, .resume = journal}).map(slow_task, std::views::iota(0, 3));
  } catch (std::invalid_argument const& e) {
    std::printf("another map with this journal: %s\n", e.what());
  }
  std::filesystem::remove(journal);

  for (int i = 0; i != n_tasks; ++i) {
    if (results[static_cast<std::size_t>(i)] != slow_task(i)) return 1;
  }
  return report.resumed > 0 ? 0 : 1;
}
