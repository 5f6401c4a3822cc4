// expect: forkmap: delayed\(fn\)\(args...\): fn cannot be called with these arguments
// SPDX-License-Identifier: MIT
#include <string>

#include <forkmap/forkmap.hpp>

namespace {
int characters_of(std::string const& s) { return static_cast<int>(s.size()); }
}  // namespace

int main() {
  forkmap::pool const workers(2);
#ifdef CONTROL
  return workers.submit(characters_of, std::string("1")).get();
#else
  workers.submit(characters_of, 1);
#endif
}
