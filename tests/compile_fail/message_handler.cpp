// expect: options::on_message must be a callable .* with one signature
// SPDX-License-Identifier: MIT
#include <cstddef>

#include <forkmap/forkmap.hpp>

int main() {
#ifdef CONTROL
  auto const handler = [](std::size_t, int const&) {};
#else
  auto const handler = [](std::size_t, auto const&) {};
#endif
  return forkmap::options{.on_message = handler}.n_jobs == -1 ? 0 : 1;
}
