// expect: an aggregate with a base class or a C array, whose members cannot be listed
// mention: task_result<.*derived
// SPDX-License-Identifier: MIT
#include <string>

#include <forkmap/forkmap.hpp>

struct base {
  std::string name;
};
#ifdef CONTROL
struct derived {
  std::string name;
#else
struct derived : base {
#endif
  std::string value;
};

int main() { CALLS(std::vector{[] { return derived{}; }}); }
