// expect: forkmap: load<T>\(file\): say which elements are expected, as in load<double>\(file\)
// SPDX-License-Identifier: MIT
#include <forkmap/load.hpp>

int main() {
#ifdef CONTROL
  auto const data = forkmap::load<double>("data.npy");
#else
  auto const data = forkmap::load("data.npy");
#endif
  static_cast<void>(data);
}
