// Cache lines asked for before they are written.
#pragma once

#include <algorithm>
#include <cstddef>

namespace forkmap::detail {

/// Has the lines of the next bytes come together, to be written: another core may hold them, and
/// would be asked for one after the other. The first KiB of them: a core waits for so many at once,
/// and sees by itself where what is written in a row goes on.
inline void prefetch_to_write(std::byte const* to, std::size_t bytes) noexcept {
  constexpr std::size_t line = 64;
  constexpr std::size_t most = 1024;
  for (std::size_t at = line; at < std::min(bytes, most); at += line) {
#if defined(__x86_64__)
    // __builtin_prefetch asks for a line to be read there, for processors of long ago. Those that do
    // not know this instruction pass over it.
    asm volatile("prefetchw %0" : : "m"(to[at]));
#else
    __builtin_prefetch(to + at, 1);
#endif
  }
}

}  // namespace forkmap::detail
