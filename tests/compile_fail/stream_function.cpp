// expect: deleted
// mention: stream\(fn, xs\) calls fn\(x\) for each x of the range xs, with a copy of fn
// SPDX-License-Identifier: MIT
#include <memory>
#include <vector>

#include <forkmap/forkmap.hpp>

struct scaled {
#ifdef CONTROL
  double factor;
#else
  std::unique_ptr<double> factor;
#endif
  double operator()(double x) const { return x; }
};

int main() {
  std::vector const numbers{1.0, 2.0};
  auto results = forkmap::parallel(2).stream(scaled{}, numbers);
}
