// expect: into the memory of a worker, which the caller cannot read
// mention: task_result<.*coroutine_handle
// SPDX-License-Identifier: MIT
#include <coroutine>
#include <optional>

#include <forkmap/forkmap.hpp>

int main() {
#ifdef CONTROL
  using kept = std::optional<int>;
#else
  using kept = std::coroutine_handle<>;
#endif
  CALLS([] { return kept(); }, [] { return 1; });
}
