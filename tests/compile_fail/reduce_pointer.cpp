// expect: into the memory of a worker, which the caller cannot read
// mention: task_result<.*char const ?\*|task_result<const char ?\*
// SPDX-License-Identifier: MIT
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

int main() {
#ifdef CONTROL
  using text = std::string;
#else
  using text = char const*;
#endif
  std::vector const tasks{[] { return text("text"); }};
  CALLS.reduce(tasks, 0, [](int n, std::string const&) { return n + 1; });
}
