// expect: this task's result type is, or holds, a pointer, reference, iterator, string_view or span
// mention: task_result<int ?\*>|points_into_worker_memory<int ?\*>
// SPDX-License-Identifier: MIT
#include <forkmap/forkmap.hpp>

int main() {
  static int value = 0;
#ifdef CONTROL
  CALLS.map([](int) { return value; }, std::vector{1});
#else
  CALLS.map([](int) { return &value; }, std::vector{1});
#endif
}
