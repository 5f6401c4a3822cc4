// expect: deleted
// mention: reduce\(tasks, init, op\) takes a range of tasks, which can be called without arguments
// SPDX-License-Identifier: MIT
#include <functional>
#include <ranges>
#include <vector>

#include <forkmap/forkmap.hpp>

int main() {
  auto const three = [](int x) { return 3 * x; };
  std::vector const numbers{1, 2};
#ifdef CONTROL
  auto const tasks = numbers | std::views::transform(forkmap::delayed(three));
  static_cast<void>(CALLS.reduce(tasks, 0, std::plus<>()));
#else
  static_cast<void>(CALLS.reduce(numbers, 0, std::plus<>()));
#endif
}
