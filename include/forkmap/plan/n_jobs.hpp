// n_jobs, as joblib counts.
#pragma once

#include <algorithm>
#include <stdexcept>

namespace forkmap::detail {

/// k > 0: k. -1: all cpus; -2: all but one; ... never less than 1.
/// Errors: std::invalid_argument for 0.
/// Source: joblib.effective_n_jobs.
constexpr int resolve_n_jobs(int n_jobs, int cpus) {
  if (n_jobs == 0) {
    throw std::invalid_argument(
        "forkmap: n_jobs is 0, which means nothing: give a number of workers, -1 for one per "
        "usable core, or 1 to run in the caller's process");
  }
  return n_jobs > 0 ? n_jobs : std::max(1, cpus + 1 + std::max(n_jobs, -cpus - 1));
}

}  // namespace forkmap::detail
