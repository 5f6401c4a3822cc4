// expect: this task's result type is, or holds, a pointer, reference, iterator, string_view or span
// mention: task_result<int ?\*>|points_into_worker_memory<int ?\*>
#include <forkmap/forkmap.hpp>

int main() {
  int value = 0;
#ifdef CONTROL
  forkmap::parallel(2).map([&](int) { return value; }, std::vector{1});
#else
  forkmap::parallel(2).map([&](int) { return &value; }, std::vector{1});
#endif
}
