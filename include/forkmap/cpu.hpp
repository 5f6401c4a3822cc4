// How many cores there are to use, and how many workers a call would have.
#pragma once

#include <forkmap/options.hpp>
#include <forkmap/plan/n_jobs.hpp>
#include <forkmap/system/cpu.hpp>
#include <forkmap/this_task.hpp>

namespace forkmap {

/// The cores that this process may use: its CPU affinity and its own cgroups' quotas (rounded up)
/// count. At least 1.
/// Cost: a system call; the quota is read once per process.
inline int cpu_count() { return detail::usable_cpus(); }

/// The workers that parallel(n_jobs) would have; -1 is every usable core, and inside a worker this
/// worker's share of them, so that nested maps share the machine instead of multiplying.
/// Errors: std::invalid_argument for 0.
inline int effective_n_jobs(int n_jobs) {
  auto const share = detail::this_process.share;
  return detail::resolve_n_jobs(n_jobs, share > 0 ? share : cpu_count());
}

/// The workers that parallel() would have: the scope's n_jobs (scoped_config), else every core.
inline int effective_n_jobs() {
  auto const* scoped = detail::scoped_options;
  return effective_n_jobs(scoped != nullptr ? scoped->n_jobs : -1);
}

}  // namespace forkmap
