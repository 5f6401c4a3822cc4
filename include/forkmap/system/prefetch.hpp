// Cache lines asked for before they are written.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace forkmap::detail {

/// As much is asked for at a time: a core waits for so many lines at once.
inline constexpr std::size_t prefetched_bytes = 1024;

/// Has the lines that begin in the next bytes come together, to be written: another core may hold
/// them, and would be asked for one after the other. The first prefetched_bytes of them only.
inline void prefetch_to_write(std::byte const* to, std::size_t bytes) noexcept {
  constexpr std::size_t line = 64;
  auto at = (line - reinterpret_cast<std::uintptr_t>(to) % line) % line;
  for (bytes = std::min(bytes, prefetched_bytes); at < bytes; at += line) {
#if defined(__x86_64__)
    // __builtin_prefetch asks for a line to be read there, for the sake of the first processors of 64
    // bits. Those since that do not know this instruction pass over it.
    asm volatile("prefetchw %0" : : "m"(to[at]));
#else
    __builtin_prefetch(to + at, 1);
#endif
  }
}

}  // namespace forkmap::detail
