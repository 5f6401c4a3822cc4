// A wait for a condition, to use instead of a wait for a fixed time.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

namespace support {

/// Waits until `condition()` is true.
/// Returns: false if it has not become true within `limit`. Only a failing test reaches the limit,
/// so it is generous: a slow machine must not reach it.
template <class Condition>
[[nodiscard]] bool wait_until(Condition condition,
                              std::chrono::milliseconds limit = std::chrono::seconds(30)) {
  auto const end = std::chrono::steady_clock::now() + limit;
  for (auto pause = std::chrono::microseconds(50);;) {
    if (condition()) return true;
    if (std::chrono::steady_clock::now() >= end) return condition();
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::microseconds(10'000));
  }
}

}  // namespace support
