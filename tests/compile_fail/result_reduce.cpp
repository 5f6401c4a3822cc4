// expect: return the data itself
// mention: task_result<.*char const ?\*|task_result<const char ?\*
// SPDX-License-Identifier: MIT
#include <string>

#include <forkmap/forkmap.hpp>

int main() {
#ifdef CONTROL
  using text = std::string;
#else
  using text = char const*;
#endif
  CALLS.reduce(std::vector{[] { return text("b"); }}, text("a"),
                              [](auto a, auto) { return a; });
}
