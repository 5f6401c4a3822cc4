// expect: reduce\(tasks, init, op\): op must take two values of init's type
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

int main() {
  std::vector const tasks{[] { return 1; }};
#ifdef CONTROL
  forkmap::parallel(2).reduce(tasks, 0, [](int a, int b) { return a + b; });
#else
  forkmap::parallel(2).reduce(tasks, 0, [](std::string a, int) { return a; });
#endif
}
