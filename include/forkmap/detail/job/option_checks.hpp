// Checks of a call's options, and the number of workers that n_jobs means.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <concepts>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <forkmap/detail/os/cpu.hpp>
#include <forkmap/options.hpp>
#include <forkmap/this_task.hpp>

namespace forkmap::detail {

// n_jobs, as joblib counts.

template <class T, class... Others>
concept is_none_of = !(std::same_as<T, Others> || ...);

/// A type for a number of workers: any integer type but bool and the character types.
template <class N>
concept worker_count =
    std::integral<N> && is_none_of<N, bool, char, wchar_t, char8_t, char16_t, char32_t>;

/// Errors: std::invalid_argument for a number that does not fit into an int.
template <worker_count N> int checked_n_jobs(N n_jobs) {
  if (std::in_range<int>(n_jobs)) return static_cast<int>(n_jobs);
  throw std::invalid_argument(
      "forkmap: n_jobs is " + std::to_string(n_jobs) +
      ", which does not fit into an int: give a number of workers, or -1 for "
      "one per usable core");
}

/// The number of workers that n_jobs means. k > 0: k; -1: all cpus; -2: all but one; ... never less
/// than 1.
/// Errors: std::invalid_argument for 0.
/// Source: joblib.effective_n_jobs.
constexpr int resolve_n_jobs(int n_jobs, int cpus) {
  if (n_jobs == 0) {
    throw std::invalid_argument(
        "forkmap: n_jobs must not be 0: give a number of workers, -1 for one per usable core, or 1 "
        "to run in the caller's process");
  }
  return n_jobs > 0 ? n_jobs : std::max(1, cpus + 1 + std::max(n_jobs, -cpus - 1));
}

/// The number of workers of a call. In a worker, n_jobs is relative to the worker's share of the
/// cpus.
/// Errors: std::invalid_argument for 0.
inline int workers_for(int n_jobs) {
  auto const share = this_process.share;
  return resolve_n_jobs(n_jobs, share > 0 ? share : usable_cpus());
}

// Checks of options before a call.

/// Whether a call with these options runs in the caller's own process.
inline bool runs_here(options const& opts) {
  bool const needs_worker = opts.isolate || opts.timeout.is_set() || opts.deadline.is_set() ||
                            opts.retries != 0 || opts.memory_limit != 0 ||
                            opts.max_tasks_per_worker != 0 || opts.pin || !opts.resume.empty() ||
                            opts.worker_init || opts.worker_exit ||
                            opts.output.what() != output_mode::inherit;
  return opts.n_jobs == 1 && !needs_worker;
}

/// Whether workers send something to their caller while tasks run: messages, or the output of tasks.
inline bool has_messages(options const& opts) noexcept {
  return opts.on_message || opts.output.what() == output_mode::capture;
}

[[noreturn]] inline void refuse_option(std::string const& text) {
  throw std::invalid_argument("forkmap: options::" + text);
}

/// Errors: std::invalid_argument for invalid options.
inline void check(options const& opts) {
  static_cast<void>(workers_for(opts.n_jobs));
  if (opts.timeout.is_set() && opts.timeout.value().count() <= 0) {
    refuse_option("timeout is " + text_of(opts.timeout.value()) +
                  ", but must be positive; leave it unset for no limit");
  }
  if (opts.grace.is_set() && opts.grace.value().count() < 0)
    refuse_option("grace is " + text_of(opts.grace.value()) + ", but must not be negative");
  auto const negative = [](char const* name, int value) {
    if (value < 0) refuse_option(name + (" is " + std::to_string(value)) + ", but must be >= 0");
  };
  negative("retries", opts.retries);
  negative("max_tasks_per_worker", opts.max_tasks_per_worker);
  negative("inner_threads", opts.inner_threads);
  negative("max_failures", opts.max_failures);
}

}  // namespace forkmap::detail
