// What a fork would break in the caller: cured where it can be, otherwise said once.
#pragma once

#include <atomic>
#include <cstdio>

#include <forkmap/system/thread_limits.hpp>

namespace forkmap::detail {

inline constinit std::atomic<bool> warned_of_openmp = false;
inline constinit std::atomic<bool> warned_of_cuda = false;

/// Before a fork. Prints at most one line per hazard and process.
inline void warn_of_hazards() noexcept {
  if (!pause_openmp() && !warned_of_openmp.exchange(true)) {
    std::fputs(
        "forkmap: warning: a map was called inside an OpenMP parallel region: tasks that use "
        "OpenMP themselves may hang\n",
        stderr);
  }
  if (uses_cuda() && !warned_of_cuda.exchange(true)) {
    std::fputs(
        "forkmap: warning: this thread uses CUDA, which does not work in forked workers: use it "
        "either in the caller or in tasks\n",
        stderr);
  }
}

}  // namespace forkmap::detail
