// own headers
// expect: streams need #include <forkmap/pool.hpp>, too
// SPDX-License-Identifier: MIT
#include <vector>

#include <forkmap/parallel.hpp>
#ifdef CONTROL
#include <forkmap/pool.hpp>
#endif

int main() {
  for (int const x : forkmap::parallel(2).stream(std::vector(3, [] { return 1; }))) return x;
}
