// expect: into the memory of a worker that is gone when the caller reads it
// mention: task_result<.*string_view
#include <string>
#include <string_view>

#include <forkmap/forkmap.hpp>

int main() {
#ifdef CONTROL
  using text = std::string;
#else
  using text = std::string_view;
#endif
  forkmap::parallel(2)([] { return text("view"); }, [] { return 1; });
}
