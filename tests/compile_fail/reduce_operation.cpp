// expect: reduce\(tasks, init, op\): op must take two values of init's type
// SPDX-License-Identifier: MIT
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

int main() {
  std::vector const tasks{[] { return 1; }};
#ifdef CONTROL
  CALLS.reduce(tasks, 0, [](int a, int b) { return a + b; });
#else
  CALLS.reduce(tasks, 0, [](std::string a, int) { return a; });
#endif
}
