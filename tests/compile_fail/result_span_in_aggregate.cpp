// expect: return the data itself
// mention: task_result<.*part
#include <span>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

struct part {
  std::string name;
#ifdef CONTROL
  std::vector<int> data;
#else
  std::span<int> data;
#endif
};

int main() { forkmap::parallel(2)(std::vector{[] { return part{}; }}); }
