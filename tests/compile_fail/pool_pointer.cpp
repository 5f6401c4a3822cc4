// expect: an argument is, or holds, a pointer, reference or view, which is not valid in a pool's
// SPDX-License-Identifier: MIT
#include <span>
#include <vector>

#include <forkmap/forkmap.hpp>

int first(int const* xs) { return *xs; }
int first_of(std::span<int const> xs) { return xs[0]; }

int main() {
  forkmap::pool workers(2);
  std::vector<int> const xs(3);
#ifdef CONTROL
  workers(std::vector(2, forkmap::delayed(first_of)(std::span(xs))));
#else
  workers(std::vector(2, forkmap::delayed(first)(xs.data())));
#endif
}
