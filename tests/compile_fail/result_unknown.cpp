// expect: a class that forkmap cannot take apart to bring it back from a worker
// mention: task_result<.*handle
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

int main() { forkmap::parallel(2)(std::vector{[] { return handle{}; }}); }
