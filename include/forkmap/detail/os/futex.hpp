// Futexes in memory that processes share. std::atomic::wait is not used, because its futex is private to
// a process.
// SPDX-License-Identifier: MIT
#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>

#include <forkmap/detail/os/clock.hpp>

namespace forkmap::detail {

/// Sleeps while the word is `seen`, at most `nanoseconds` (INT64_MAX: forever). May return early:
/// callers check the word again.
inline void wait_while_equal(std::atomic<std::uint32_t> const& word, std::uint32_t seen,
                             std::int64_t nanoseconds = INT64_MAX) noexcept {
  timespec const patience{.tv_sec = nanoseconds / 1'000'000'000,
                          .tv_nsec = nanoseconds % 1'000'000'000};
  ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, nanoseconds == INT64_MAX ? nullptr : &patience,
            nullptr, 0);
}
inline void wake_all(std::atomic<std::uint32_t> const& word) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

/// Calls until() repeatedly for about `nanoseconds`, yielding the core in between.
/// Returns: whether until() has returned true.
template <class Until> bool spin_until(std::int64_t nanoseconds, Until const& until) noexcept {
  auto const begin = nanoseconds_now();
  do {
    for (int i = 0; i != 16; ++i) {
      if (until()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
    }
    ::sched_yield();
  } while (nanoseconds_now() - begin < nanoseconds);
  return until();
}

}  // namespace forkmap::detail
