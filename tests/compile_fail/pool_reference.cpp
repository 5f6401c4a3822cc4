// expect: std::ref of an argument: a pool's worker cannot write to the caller's object
// SPDX-License-Identifier: MIT
#include <functional>
#include <vector>

#include <forkmap/forkmap.hpp>

int size(std::vector<int> const& xs) { return static_cast<int>(xs.size()); }

int main() {
  forkmap::pool workers(2);
  std::vector<int> xs(3);
#ifdef CONTROL
  workers(std::vector(2, forkmap::delayed(size)(std::cref(xs))));
#else
  workers(std::vector(2, forkmap::delayed(size)(std::ref(xs))));
#endif
}
