// expect: the stream of a temporary pool would outlive the pool: give the pool a name
// SPDX-License-Identifier: MIT
#include <vector>

#include <forkmap/forkmap.hpp>

int one() { return 1; }

int main() {
  std::vector const tasks(2, &one);
  forkmap::pool const workers(2);
#ifdef CONTROL
  for (int const x : workers.stream(tasks)) static_cast<void>(x);
#else
  auto results = forkmap::pool(2).stream(tasks);
#endif
}
