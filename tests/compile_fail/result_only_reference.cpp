// expect: is, or holds, a pointer, reference
// mention: task_result<.*only_reference
// SPDX-License-Identifier: MIT
#include <forkmap/forkmap.hpp>

struct only_reference {
#ifdef CONTROL
  int value;
#else
  int& value;
#endif
};
int some_int = 7;
only_reference reference_to_it() { return {some_int}; }

int main() { CALLS(reference_to_it); }
