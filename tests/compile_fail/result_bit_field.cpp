// expect: bit-field
// SPDX-License-Identifier: MIT
#include <forkmap/forkmap.hpp>

struct named_flags {
  std::string name;
#ifdef CONTROL
  unsigned flags;
#else
  unsigned flags : 10;
#endif
};
named_flags some_flags() { return {"its name", 3}; }

int main() { CALLS(some_flags); }
