// Ranges of tasks.
// SPDX-License-Identifier: MIT
#pragma once

#include <ranges>

#include <forkmap/delayed.hpp>

namespace support {

inline auto count_to(int n) { return std::views::iota(0, n); }

/// fn(0), fn(1), ... as tasks. fn may capture anything.
template <class Fn> auto tasks_of(int n, Fn fn) {
  return count_to(n) | std::views::transform([fn](int i) { return [fn, i] { return fn(i); }; });
}

/// The same as tasks that can be sent to a pool. fn must capture nothing.
template <class Fn> auto portable_tasks_of(int n, Fn fn) {
  return count_to(n) | std::views::transform([fn](int i) { return forkmap::delayed(fn)(i); });
}

}  // namespace support
