// A mark that a process passes on to all processes that it starts, so that all of them can be found.
//
// Programs that fork twice, create sessions of their own or outlive their parents are no longer
// descendants of the worker that has started them. A resource limit is passed on by fork and exec, and
// other processes can read it. The mark is the soft limit of RLIMIT_LOCKS, which no program changes and
// which Linux has ignored since 2.4.25. The hard limit is unchanged, so that a nested worker can have a
// mark of its own. The bits of a mark:
//
//   bit 62   always set: no program sets such a limit
//   61..20   the call or pool
//   19..0    the worker process, among those of its call or pool
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/clock.hpp>

namespace forkmap::detail {

using process_mark = std::uint64_t;

inline constexpr process_mark no_mark = 0;
inline constexpr unsigned mark_number_bits = 20;
inline constexpr process_mark mark_of_all = ~((process_mark{1} << mark_number_bits) - 1);

/// A new mark for a call or pool of this process, with the worker number 0.
inline process_mark new_mark() noexcept {
  // Distinct for distinct pairs of time and process, before bits are cut off.
  auto bits = static_cast<std::uint64_t>(nanoseconds_now()) ^ static_cast<std::uint64_t>(::getpid())
                                                                  << 42U;
  bits = (bits ^ bits >> 30U) * 0xbf58476d1ce4e5b9U;
  bits = (bits ^ bits >> 27U) * 0x94d049bb133111ebU;
  bits ^= bits >> 31U;
  constexpr unsigned call_bits = 42;
  return process_mark{1} << 62U | (bits >> (64U - call_bits)) << mark_number_bits;
}

/// The mark of one worker process of a call or pool.
inline process_mark mark_of_worker(process_mark call, std::uint32_t number) noexcept {
  return call | (number & ~mark_of_all);
}

/// Marks this process and all that it will start; no_mark removes the mark.
/// Returns: false if the system refuses (gVisor; a hard limit that has been lowered).
[[gnu::hot]] inline bool wear_mark(process_mark mark) noexcept {
  rlimit limit{};
  limit.rlim_cur = mark == no_mark ? RLIM_INFINITY : static_cast<rlim_t>(mark);
  limit.rlim_max = RLIM_INFINITY;
  return bound().syscall(SYS_prlimit64, 0L, static_cast<long>(RLIMIT_LOCKS), &limit, nullptr) == 0;
}

}  // namespace forkmap::detail
