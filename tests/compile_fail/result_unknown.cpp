// expect: a class that forkmap cannot serialize to send it to the caller
// mention: task_result<.*handle
// SPDX-License-Identifier: MIT
#include <memory>

#include <forkmap/forkmap.hpp>

class handle {
 public:
  handle() = default;
  handle(handle&&) noexcept {}
};
#ifdef CONTROL
template <> struct forkmap::serializer<handle> {
  static void save(forkmap::writer&, handle const&) {}
  static handle load(forkmap::reader&) { return {}; }
};
#endif

int main() { CALLS(std::vector{[] { return handle{}; }}); }
