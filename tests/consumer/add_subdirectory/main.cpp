// forkmap as a subdirectory, in a program of two translation units.
#include <cstdio>
#include <vector>

#include <forkmap/forkmap.hpp>

namespace fm = forkmap;

std::vector<int> cubes_from_other(int count);  // other.cpp

int main() {
  auto const cube = [](int x) { return x * x * x; };
  std::vector<decltype(fm::delayed(cube)(1))> tasks;
  for (int i = 0; i < 50; ++i) tasks.push_back(fm::delayed(cube)(i));
  if (fm::parallel(2)(tasks) != cubes_from_other(50)) return 1;
  std::puts("consumer: forkmap as a subdirectory works");
}
