// expect: this range has no end, but this call needs all of it; limit it with std::views::take\(n\)
// SPDX-License-Identifier: MIT
#include <ranges>
#include <vector>

#include <forkmap/forkmap.hpp>

int sum_of(int a, int b) { return a + b; }

int main() {
  auto const numbers = std::views::iota(0);
#ifdef CONTROL
  static_cast<void>(CALLS.map(sum_of, numbers, std::vector{1, 2}));
#else
  static_cast<void>(CALLS.map(sum_of, numbers, numbers));
#endif
}
