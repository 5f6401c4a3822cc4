// expect: forkmap: load_value<T>: T is bool, an integer.*load<T>\(\) reads arrays
// SPDX-License-Identifier: MIT
#include <string>

#include <forkmap/load_value.hpp>

int main() {
#ifdef CONTROL
  auto const name = forkmap::load_value<std::string>("model.joblib", "name");
#else
  auto const name = forkmap::load_value("model.joblib", "name");
#endif
  static_cast<void>(name);
}
