// expect: deleted
// mention: first\(tasks\) takes a range of tasks, which can be called without arguments; first\(fn, xs\)
// SPDX-License-Identifier: MIT
#include <vector>

#include <forkmap/forkmap.hpp>

int main() {
  auto const three = [](int x) { return 3 * x; };
  std::vector const numbers{1, 2};
#ifdef CONTROL
  static_cast<void>(CALLS.first(three, numbers));
#else
  static_cast<void>(CALLS.first(numbers, three));
#endif
}
