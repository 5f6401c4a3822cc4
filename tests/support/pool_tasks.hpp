// Functions that tests of pools send as tasks.
// SPDX-License-Identifier: MIT
#pragma once

#include <signal.h>
#include <unistd.h>

#include <cstddef>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>

namespace support {

inline int wrapping_square(int x) {
  return static_cast<int>(static_cast<unsigned>(x) * static_cast<unsigned>(x));
}
inline std::string text_of(int x) {
  return std::string(static_cast<std::size_t>(x % 50), 'a') + "!";
}
inline double sum(std::span<double const> xs) { return std::accumulate(xs.begin(), xs.end(), 0.0); }
inline void nothing() {}
inline int fail_at_three(int x) {
  if (x == 3) throw std::invalid_argument("three");
  return x;
}
inline int die_at_three(int x) {
  if (x == 3) ::raise(SIGSEGV);
  return x;
}
[[gnu::noinline]] inline int stay(int x) {
  for (;;) ::pause();
  return x;
}

}  // namespace support
