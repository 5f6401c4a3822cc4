// forkmap as a subdirectory, in a program of two translation units.
// SPDX-License-Identifier: MIT
#include <cstddef>
#include <cstdio>
#include <vector>

#include <forkmap/forkmap.hpp>

namespace fm = forkmap;

int workers_of_other();  // other.cpp

int main() {
  auto const cube = [](int x) { return x * x * x; };
  std::vector<decltype(fm::delayed(cube)(1))> tasks;
  for (int i = 0; i < 50; ++i) tasks.push_back(fm::delayed(cube)(i));
  auto const cubes = fm::parallel(2)(tasks);
  for (int i = 0; i < 50; ++i) {
    if (cubes.at(static_cast<std::size_t>(i)) != cube(i)) return 1;
  }
  if (workers_of_other() != fm::effective_n_jobs(-1)) return 2;
  std::puts("consumer: forkmap as a subdirectory works");
}
