// expect: deleted
// mention: a map takes tasks, which can be called without arguments, or one range of them
// SPDX-License-Identifier: MIT
#include <vector>

#include <forkmap/forkmap.hpp>

int main() {
#ifdef CONTROL
  CALLS.map([](int x) { return x; }, std::vector{1, 2});
#else
  CALLS(std::vector{1, 2});
#endif
}
