// expect: into the memory of a worker, which the caller cannot read
// mention: task_result<.*string_view
// SPDX-License-Identifier: MIT
#include <string>
#include <string_view>

#include <forkmap/forkmap.hpp>

int main() {
#ifdef CONTROL
  using text = std::string;
#else
  using text = std::string_view;
#endif
  CALLS([] { return text("view"); }, [] { return 1; });
}
