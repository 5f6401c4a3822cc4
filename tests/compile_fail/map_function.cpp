// expect: deleted
// mention: map\(fn, xs\) calls fn\(x\) for each x of the range xs: this fn cannot be called so
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
      forkmap::parallel(2).map(count_characters, std::vector<std::string>{"1", "2"});
#else
  auto const lengths = forkmap::parallel(2).map(count_characters, std::vector{1, 2});
#endif
  return static_cast<int>(lengths.size());
}
