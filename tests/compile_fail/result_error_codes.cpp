// expect: an aggregate with a base class or a C array, whose members cannot be listed
// mention: task_result<.*answer
// SPDX-License-Identifier: MIT
#include <array>
#include <system_error>

#include <forkmap/forkmap.hpp>

struct answer {
  int value;
#ifdef CONTROL
  std::array<std::error_code, 2> codes;
#else
  std::error_code codes[2];
#endif
};

int main() { CALLS([] { return answer{}; }); }
