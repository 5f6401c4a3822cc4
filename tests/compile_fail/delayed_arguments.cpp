// expect: delayed\(fn\)\(args\.\.\.\): fn cannot be called with these arguments
// SPDX-License-Identifier: MIT
#include <string>

#include <forkmap/forkmap.hpp>

int length(std::string const& text) { return static_cast<int>(text.size()); }

int main() {
#ifdef CONTROL
  auto const task = forkmap::delayed(length)("text");
#else
  auto const task = forkmap::delayed(length)(1, 2);
#endif
  return task();
}
