#include <vector>

#include <forkmap/forkmap.hpp>

namespace fm = forkmap;

std::vector<int> cubes_from_other(int count) {
  auto const cube = [](int x) { return x * x * x; };
  std::vector<decltype(fm::delayed(cube)(1))> tasks;
  for (int i = 0; i < count; ++i) tasks.push_back(fm::delayed(cube)(i));
  return fm::parallel(2)(tasks);
}
