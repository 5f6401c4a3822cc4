// expect: deleted
// mention: a map takes tasks, which can be called without arguments, or one range of them
#include <vector>

#include <forkmap/forkmap.hpp>

int main() {
#ifdef CONTROL
  forkmap::parallel(2).map([](int x) { return x; }, std::vector{1, 2});
#else
  forkmap::parallel(2)(std::vector{1, 2});
#endif
}
