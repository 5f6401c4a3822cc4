// expect: return the data itself
// mention: task_result<.*part
// SPDX-License-Identifier: MIT
#include <span>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

struct part {
  std::string name;
#ifdef CONTROL
  std::vector<int> data;
#else
  std::span<int> data;
#endif
};

int main() { CALLS(std::vector{[] { return part{}; }}); }
