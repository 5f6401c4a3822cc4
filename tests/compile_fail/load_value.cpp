// expect: forkmap: load_value<T>: T is bool, an integer.*load<T>\(\) reads arrays
// SPDX-License-Identifier: MIT
#include <string>
#include <vector>

#include <forkmap/load_value.hpp>

int main() {
#ifdef CONTROL
  auto const classes = forkmap::load_value<std::vector<std::string>>("model.joblib", "classes");
#else
  auto const classes = forkmap::load_value<char const*>("model.joblib", "classes");
#endif
  static_cast<void>(classes);
}
