// The number of usable cores, and the number of workers that a call would have.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <concepts>
#include <type_traits>

#include <forkmap/detail/job/option_checks.hpp>
#include <forkmap/detail/os/cpu.hpp>
#include <forkmap/options.hpp>

namespace forkmap {

/// The number of cores that this process may use: the smaller of its CPU affinity and the CPU
/// quotas of its cgroups, rounded up.
///
/// Returns: at least 1.
/// Cost: one system call; the quota is read once per process.
inline int cpu_count() { return detail::usable_cpus(); }

/// The number of workers that parallel(n_jobs) would use.
///
/// -1 means every usable core. In a worker it means the worker's share of the cores, so that nested
/// calls do not use more workers than there are cores.
/// Errors: std::invalid_argument if n_jobs is 0.
/// Source: joblib.effective_n_jobs.
inline int effective_n_jobs(int n_jobs) { return detail::workers_for(n_jobs); }

/// The same for other integer types. bool, characters and floating-point numbers do not compile.
///
/// Errors: std::invalid_argument if n_jobs is 0 or does not fit into an int.
template <class N>
  requires(std::is_arithmetic_v<N> && !std::same_as<N, int>)
int effective_n_jobs(N n_jobs) {
  static_assert(
      detail::worker_count<N>,
      "forkmap: effective_n_jobs(n_jobs): n_jobs must be an integer, not a bool or a char");
  if constexpr (detail::worker_count<N>) return effective_n_jobs(detail::checked_n_jobs(n_jobs));
}

/// The number of workers that parallel() would use: n_jobs of the active scoped_config, else every
/// usable core.
inline int effective_n_jobs() {
  auto const* scoped = detail::scoped_options;
  return effective_n_jobs(scoped != nullptr ? scoped->n_jobs : -1);
}

}  // namespace forkmap
