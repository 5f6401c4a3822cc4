// expect: this range has no end, but this call needs all of it; limit it with std::views::take\(n\)
// SPDX-License-Identifier: MIT
#include <functional>
#include <ranges>

#include <forkmap/forkmap.hpp>

int even_square(int i) { return i * i; }

int main() {
  auto tasks = std::views::iota(0) | std::views::filter([](int i) { return i % 2 == 0; }) |
               std::views::transform(forkmap::delayed(even_square));
  auto const& calls = CALLS;
#ifdef CONTROL
  static_cast<void>(calls.map(even_square, std::views::iota(0) | std::views::take(3)));
  static_cast<void>(calls.reduce(tasks | std::views::take(3), 0, std::plus<>()));
  for (int const x : calls.stream(tasks)) {
    if (x > 100) break;
  }
  for (int const x : calls.stream(even_square, std::views::iota(0))) {
    if (x > 100) break;
  }
#else
  static_cast<void>(calls.reduce(tasks, 0, std::plus<>()));
#endif
}
