// Limits of forking: the depth of nested calls, and hazards of a fork in the caller.
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdio>
#include <stdexcept>
#include <string>

#include <forkmap/detail/os/thread_limits.hpp>
#include <forkmap/options.hpp>
#include <forkmap/this_task.hpp>

namespace forkmap::detail {

// The limit on the nesting of calls. Without it, an endless recursion would fill the machine.

/// The most levels of workers of workers.
inline constexpr int most_levels = 10;

/// Call before workers are forked.
/// Errors: std::runtime_error in a worker of the last level.
inline void check_nesting() {
  if (this_process.depth < most_levels) return;
  throw std::runtime_error(
      "forkmap: this worker is " + std::to_string(this_process.depth) +
      " levels of nested calls deep, which is the limit, and may not fork workers of its own "
      "(does a task call itself without end?). If the depth is intended, give the inner calls "
      "n_jobs = 1, which runs them in the worker's own process");
}

// Hazards of a fork in the caller: avoided where possible, otherwise reported once.

inline constinit std::atomic<int> warned_of_openmp = 0;
inline constinit std::atomic<int> warned_of_cuda = 0;

/// Call before a fork. Prints at most one line per hazard and process.
inline void warn_of_hazards() noexcept {
  if (!pause_openmp() && warned_of_openmp.exchange(1) == 0) {
    std::fputs(
        "forkmap: warning: a map was called inside an OpenMP parallel region: tasks that use "
        "OpenMP may hang\n",
        stderr);
  }
  if (uses_cuda() && warned_of_cuda.exchange(1) == 0) {
    std::fputs(
        "forkmap: warning: this thread uses CUDA, which does not work in forked workers: use CUDA "
        "either in the caller or in tasks, not in both\n",
        stderr);
  }
}

// The options' hooks around a fork.

/// Calls `fork` between options::before_fork and options::after_fork.
/// Errors: what the hooks and `fork` throw.
template <class Fork> void fork_between_hooks(options const& opts, Fork const& fork) {
  if (opts.before_fork) opts.before_fork();
  try {
    fork();
  } catch (...) {
    try {
      if (opts.after_fork) opts.after_fork();
    } catch (...) {  // why the fork failed says more
    }
    throw;
  }
  if (opts.after_fork) opts.after_fork();
}

}  // namespace forkmap::detail
