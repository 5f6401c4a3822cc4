// What a worker may use of the machine.
#pragma once

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include <forkmap/system/call.hpp>
#include <forkmap/system/cpu.hpp>
#include <forkmap/system/text_file.hpp>
#include <forkmap/system/thread_limits.hpp>
#include <forkmap/worker/birth.hpp>

namespace forkmap::detail {

/// Pins this process to the k-th of the cores that it may use, counted round and round.
inline void pin_to_core(std::uint32_t k) {
  cpu_mask usable;
  auto const n = static_cast<std::uint32_t>(usable.count());
  if (n == 0) throw_errno("sched_getaffinity of a worker");
  if (!usable.pin_to(static_cast<int>(k % n))) throw_errno("sched_setaffinity of a worker");
}

/// Lets this process add that many bytes of address space to what it has.
inline void limit_memory(std::size_t bytes) {
  // The first number: pages of address space.
  auto const now = std::strtoull(read_text_file("/proc/self/statm").c_str(), nullptr, 10) *
                   static_cast<unsigned long long>(::sysconf(_SC_PAGESIZE));
  if (now == 0) throw_errno("read /proc/self/statm for the memory limit of a worker");
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0) throw_errno("getrlimit(RLIMIT_AS) of a worker");
  rlim_t most = 0;
  if (__builtin_add_overflow(now, bytes, &most)) return;
  limit.rlim_cur = std::min(most, limit.rlim_max);
  if (::setrlimit(RLIMIT_AS, &limit) != 0) throw_errno("setrlimit(RLIMIT_AS) of a worker");
}

/// In a new worker, the one with that number. `share`: of the machine's cores.
/// Errors: std::system_error naming the call that failed.
[[gnu::hot]] inline void apply_budget(options const& how, thread_limits const& threads, int share,
                                      std::uint32_t number) {
  threads.apply(how.inner_threads > 0 ? how.inner_threads : share);
  if (how.pin) pin_to_core(number);
  if (how.memory_limit != 0) limit_memory(how.memory_limit);
}

/// Looking at a process's memory in detail takes up to some milliseconds.
inline constexpr std::chrono::nanoseconds worth_measuring{50'000'000};

/// At a worker's end, if it has lived for long enough that it does not matter.
inline void note_unshared_memory(worker_birth const& birth, std::int64_t lived_ns) noexcept {
  if (lived_ns < worth_measuring.count()) return;
  try {
    auto const text = read_text_file("/proc/self/smaps_rollup");
    constexpr char field[] = "Private_Dirty:";
    auto const at = text.find(field);
    if (at == text.npos) return;
    auto const kilobytes = std::strtoull(text.c_str() + at + sizeof field - 1, nullptr, 10);
    birth.memory.unshared(birth.number).fetch_add(kilobytes * 1024, std::memory_order_relaxed);
  } catch (...) {  // no memory for a text: no figure
  }
}

}  // namespace forkmap::detail
