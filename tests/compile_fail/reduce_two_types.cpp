// expect: reduce\(tasks, init, op\): op must take a value of init's type and a task's result
// SPDX-License-Identifier: MIT
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

int main() {
  std::vector const tasks{[] { return std::string("text"); }};
#ifdef CONTROL
  CALLS.reduce(tasks, 0, [](int n, std::string const&) { return n + 1; });
#else
  CALLS.reduce(tasks, 0, [](int n, int m) { return n + m; });
#endif
}
