// Bytes for another core to read, written past the caches: that core's hold the bytes that were there
// before, and would have to give up every line first.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>

namespace forkmap::detail {

/// Each stream gathers its lines in a buffer of the processor, of which there are a few.
inline constexpr std::size_t most_streams = 4;

/// Writes an object of whole 64-bit words: a part of a stream, the next of which lies behind it.
/// Where the processor has no such stores this is one like any other.
///
/// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, 10.4.6.2, "Caching
///   of Temporal vs. Non-Temporal Data".
template <class T>
[[gnu::always_inline]] inline void store_streaming(std::byte* to, T const& from) noexcept {
  using word = long long;
  constexpr std::size_t n_words = sizeof(T) / sizeof(word);
  static_assert(sizeof(T) % sizeof(word) == 0);
#if defined __x86_64__ && __has_builtin(__builtin_ia32_movnti64)
  std::array<word, n_words> words;
  std::memcpy(words.data(), std::addressof(from), sizeof from);
  [&]<std::size_t... W>(std::index_sequence<W...>) __attribute__((always_inline)) {
    (__builtin_ia32_movnti64(reinterpret_cast<word*>(to + W * sizeof(word)), words[W]), ...);
  }(std::make_index_sequence<n_words>{});
#else
  std::memcpy(to, std::addressof(from), sizeof from);
#endif
}

/// What has been stored so is seen by whoever sees what is stored after this.
inline void end_streaming() noexcept {
#if defined __x86_64__ && __has_builtin(__builtin_ia32_movnti64)
  __builtin_ia32_sfence();
#endif
}

}  // namespace forkmap::detail
