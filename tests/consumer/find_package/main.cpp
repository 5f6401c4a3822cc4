// A program that uses the installed library through find_package.
// SPDX-License-Identifier: MIT
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <vector>

#include <forkmap/forkmap.hpp>

namespace fm = forkmap;

namespace {
int square(int x) { return x * x; }
}  // namespace

int main() {
  std::vector<decltype(fm::delayed(square)(1))> tasks;
  for (int i = 0; i < 100; ++i) tasks.push_back(fm::delayed(square)(i));
  std::vector<int> const squares = fm::parallel(2)(tasks);
  if (squares.size() != 100) return 1;
  for (int i = 0; i < 100; ++i)
    if (squares[static_cast<std::size_t>(i)] != i * i) return 2;

  auto const file = std::filesystem::temp_directory_path() / "forkmap-consumer.npy";
  std::vector<double> numbers(1000);
  std::iota(numbers.begin(), numbers.end(), 0.5);
  fm::dump(numbers, file);
  auto const loaded = fm::load<double>(file);
  bool const same = std::vector<double>(loaded.begin(), loaded.end()) == numbers;
  std::filesystem::remove(file);
  if (!same) return 3;

  std::puts("consumer: the installed forkmap works");
}
