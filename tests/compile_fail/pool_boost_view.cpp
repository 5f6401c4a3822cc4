// expect: an argument is, or holds, a pointer, reference or view, which is not valid in a pool's worker
// mention: check_argument<.*span
// SPDX-License-Identifier: MIT
#include <span>
#include <vector>

#include <boost/core/span.hpp>

#include <forkmap/forkmap.hpp>

#ifdef CONTROL
using numbers = std::span<double const>;
#else
using numbers = boost::span<double const>;
#endif

double first(numbers all) { return all[0]; }

int main() {
  std::vector<double> const all{1, 2, 3};
  forkmap::pool(2)(forkmap::delayed(first)(numbers(all.data(), all.size())));
}
