// expect: deleted
// mention: unordered_outcomes\(tasks\) takes a range of tasks, which can be called without arguments; unordered_outcomes\(fn, xs\)
// SPDX-License-Identifier: MIT
#include <vector>

#include <forkmap/forkmap.hpp>

int main() {
  auto const three = [](int x) { return 3 * x; };
  std::vector const numbers{1, 2};
  auto const& calls = CALLS;
#ifdef CONTROL
  static_cast<void>(calls.unordered_outcomes(three, numbers));
#else
  static_cast<void>(calls.unordered_outcomes(numbers));
#endif
}
