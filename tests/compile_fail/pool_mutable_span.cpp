// expect: a span of mutable elements: a pool's worker cannot write to the caller's memory
// SPDX-License-Identifier: MIT
#include <span>
#include <vector>

#include <forkmap/forkmap.hpp>

int front(std::span<int const> xs) { return xs[0]; }

int main() {
  forkmap::pool workers(2);
  std::vector<int> xs(3);
#ifdef CONTROL
  workers(std::vector(2, forkmap::delayed(front)(std::span<int const>(xs))));
#else
  workers(std::vector(2, forkmap::delayed(front)(std::span<int>(xs))));
#endif
}
