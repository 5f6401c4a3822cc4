// Ranges of tasks.
#pragma once

#include <ranges>

#include <forkmap/delayed.hpp>

namespace support {

inline auto count_to(int n) { return std::views::iota(0, n); }

/// fn(0), fn(1), ... as tasks, whatever fn captures.
template <class Fn> auto tasks_of(int n, Fn fn) {
  return count_to(n) | std::views::transform([fn](int i) { return [fn, i] { return fn(i); }; });
}

/// The same for an fn that a pool takes.
template <class Fn> auto portable_tasks_of(int n, Fn fn) {
  return count_to(n) | std::views::transform([fn](int i) { return forkmap::delayed(fn)(i); });
}

}  // namespace support
