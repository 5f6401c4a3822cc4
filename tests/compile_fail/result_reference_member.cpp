// expect: is, or holds, a pointer, reference
// mention: task_result<.*named_value
// SPDX-License-Identifier: MIT
#include <forkmap/forkmap.hpp>

struct named_value {
  double value;
#ifdef CONTROL
  std::string const name;
#else
  std::string const& name;
#endif
};
std::string const some_name = "its name";
named_value value_with_name() { return {0.5, some_name}; }

int main() { CALLS(value_with_name); }
