// expect: deleted
// mention: stream_outcomes\(tasks\) takes a range of tasks, which can be called without arguments; stream_outcomes\(fn, xs\)
// SPDX-License-Identifier: MIT
#include <vector>

#include <forkmap/forkmap.hpp>

int main() {
  auto const three = [](int x) { return 3 * x; };
  std::vector const numbers{1, 2};
  auto const& calls = CALLS;
#ifdef CONTROL
  static_cast<void>(calls.stream_outcomes(three, numbers));
#else
  static_cast<void>(calls.stream_outcomes(numbers));
#endif
}
