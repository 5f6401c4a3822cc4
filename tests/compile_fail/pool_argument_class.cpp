// expect: an argument is, or holds, a class that forkmap cannot serialize to send it
// SPDX-License-Identifier: MIT
#include <memory>
#include <vector>

#include <forkmap/forkmap.hpp>

class opaque {
 public:
  opaque() = default;
  opaque(opaque const& other) : x_(std::make_unique<int>(*other.x_)) {}
  int get() const { return *x_; }

 private:
  std::unique_ptr<int> x_ = std::make_unique<int>(1);
};
int get(opaque const& o) { return o.get(); }
int same(int x) { return x; }

int main() {
  forkmap::pool workers(2);
#ifdef CONTROL
  workers(std::vector(2, forkmap::delayed(same)(1)));
#else
  workers(std::vector(2, forkmap::delayed(get)(opaque())));
#endif
}
