// expect: forkmap: dump takes arrays .*numbers, std::string, and
// mention: make a std::tuple or a std::map of its members
// SPDX-License-Identifier: MIT
#include <string>
#include <tuple>
#include <vector>

#include <forkmap/dump_value.hpp>

struct model {
  explicit model(int n) : layers(n) {}
  int layers;
  std::vector<double> weights{};
};

int main() {
  model const trained(3);
#ifdef CONTROL
  forkmap::dump(std::tuple(trained.layers, trained.weights), "model.joblib");
#else
  forkmap::dump(trained, "model.joblib");
#endif
}
