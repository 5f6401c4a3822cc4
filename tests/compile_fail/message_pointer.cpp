// expect: this_task::send: a message of this type cannot be sent between processes
// SPDX-License-Identifier: MIT
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

int main() {
  forkmap::parallel(2).map(
      [](std::string const& name) {
#ifdef CONTROL
        forkmap::this_task::send(name);
#else
        forkmap::this_task::send(&name);
#endif
      },
      std::vector<std::string>{"a"});
}
