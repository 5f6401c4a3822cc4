// expect: into the memory of a worker that is gone when the caller reads it
// mention: task_result<.*row
#include <forkmap/forkmap.hpp>

struct name {
#ifdef CONTROL
  int length;
#else
  char const* text;
#endif
};
struct row {
  double value;
  name label;
};

int main() { forkmap::parallel(2).outcomes(std::vector{[] { return std::vector<row>(3); }}); }
