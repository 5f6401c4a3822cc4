// The clock that the caller and its workers share.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/syscall.h>
#include <time.h>

#include <chrono>
#include <cstdint>

#include <forkmap/detail/os/bound.hpp>

namespace forkmap::detail {

/// The time of steady_clock, which is the same in all processes, in nanoseconds.
inline std::int64_t nanoseconds_now() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// The same for a new child. Reading the clock without a system call touches four pages in as many
/// libraries, each of them a page fault at the first use. This costs more than the system calls of a
/// child that reads the clock only a few times.
class child_clock {
 public:
  child_clock() = default;
  /// The clock of a child that is no longer new.
  static child_clock of_old_child() noexcept {
    child_clock clock;
    clock.by_system_call_ = 0;
    return clock;
  }

  std::int64_t now() noexcept {
    if (by_system_call_ == 0) return nanoseconds_now();
    --by_system_call_;
    timespec time{};
    bound().syscall(SYS_clock_gettime, static_cast<long>(CLOCK_MONOTONIC), &time);
    return time.tv_sec * 1'000'000'000 + time.tv_nsec;
  }

 private:
  int by_system_call_ = 16;  // remaining reads by system call
};

}  // namespace forkmap::detail
