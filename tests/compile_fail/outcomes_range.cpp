// expect: deleted
// mention: outcomes\(tasks\) takes a range of tasks, which can be called without arguments; outcomes\(fn, xs\)
// SPDX-License-Identifier: MIT
#include <vector>

#include <forkmap/forkmap.hpp>

int main() {
  auto const three = [](int x) { return 3 * x; };
  std::vector const numbers{1, 2};
#ifdef CONTROL
  static_cast<void>(CALLS.outcomes(three, numbers));
#else
  static_cast<void>(CALLS.outcomes(numbers));
#endif
}
