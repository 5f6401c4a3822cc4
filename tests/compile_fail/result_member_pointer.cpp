// expect: into the memory of a worker, which the caller cannot read
// mention: task_result<.*row
// SPDX-License-Identifier: MIT
#include <forkmap/forkmap.hpp>

struct name {
#ifdef CONTROL
  int length;
#else
  char const* text;
#endif
};
struct row {
  double value;
  name label;
};

int main() { CALLS.outcomes(std::vector{[] { return std::vector<row>(3); }}); }
