// Cache lines asked for before they are written.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace forkmap::detail {

/// Has the lines of the next bytes come together, to be written: another core may hold them, and
/// would be asked for one after the other. Those within a KiB: a core waits for so many at once, and
/// sees by itself where what is written in a row goes on. Not the first, which is written now.
inline void prefetch_to_write(std::byte const* to, std::size_t bytes) noexcept {
  constexpr std::size_t line = 64;
  constexpr std::size_t most = 1024;
  auto at = line - reinterpret_cast<std::uintptr_t>(to) % line;
  for (bytes = std::min(bytes, most); at < bytes; at += line) {
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
