// expect: deleted
// mention: map\(fn, xs\) calls fn\(x\) for each x of the range xs, map\(fn, xs, ys\) calls fn\(x, y\): fn cannot be called like that
// SPDX-License-Identifier: MIT
#include <cstddef>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

namespace {
std::size_t count_characters(std::string const& s) { return s.size(); }
}  // namespace

int main() {
#ifdef CONTROL
  auto const lengths =
      CALLS.map(count_characters, std::vector<std::string>{"1", "2"});
#else
  auto const lengths = CALLS.map(count_characters, std::vector{1, 2});
#endif
  return static_cast<int>(lengths.size());
}
