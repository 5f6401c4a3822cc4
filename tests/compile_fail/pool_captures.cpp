// expect: a pool takes functions, lambdas without captures, and delayed\(fn\)\(args\.\.\.\) of these
// mention: forkmap::parallel
// SPDX-License-Identifier: MIT
#include <vector>

#include <forkmap/forkmap.hpp>

int main() {
  forkmap::pool workers(2);
  int x = 1;
#ifdef CONTROL
  auto const task = forkmap::delayed([](int y) { return y; })(x);
#else
  auto const task = [x] { return x; };
#endif
  workers(std::vector(2, task));
}
