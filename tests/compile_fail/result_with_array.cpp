// expect: use std::array, or specialise forkmap::serializer for it
// mention: task_result<.*table
// SPDX-License-Identifier: MIT
#include <array>
#include <string>

#include <forkmap/forkmap.hpp>

struct table {
  std::string name;
#ifdef CONTROL
  std::array<double, 3> row;
#else
  double row[3];
#endif
};

int main() { CALLS(std::vector{[] { return table{}; }}); }
