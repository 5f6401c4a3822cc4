// expect: deleted
// mention: map\(fn, xs, ys\) calls fn\(x, y\): fn cannot be called like that
// SPDX-License-Identifier: MIT
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

int main() {
  auto const repeated = [](std::string const& text, int n) {
    return std::string(static_cast<unsigned>(n), text[0]);
  };
  std::vector<std::string> const texts{"a", "b"};
  std::vector const numbers{1, 2};
#ifdef CONTROL
  static_cast<void>(CALLS.map(repeated, texts, numbers));
#else
  static_cast<void>(CALLS.map(repeated, numbers, texts));
#endif
}
