// expect: return the data itself
// mention: task_result<.*char const ?\*|task_result<const char ?\*
#include <string>

#include <forkmap/forkmap.hpp>

int main() {
#ifdef CONTROL
  std::string init = "a";
#else
  char const* init = "a";
#endif
  forkmap::parallel(2).reduce(std::vector{[] { return "b"; }}, init,
                              [](auto a, auto) { return a; });
}
