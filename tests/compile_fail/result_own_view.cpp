// expect: into the memory of a worker, which the caller cannot read
// mention: task_result<.*line
// SPDX-License-Identifier: MIT
#include <cstddef>
#include <span>

#include <forkmap/forkmap.hpp>

class line {
 public:
#ifdef CONTROL
  double const* begin() const { return all_; }
  double const* end() const { return all_ + 3; }
#else
  operator std::span<double>() const { return {begin_, n_}; }
#endif

 private:
#ifdef CONTROL
  double all_[3] = {};
#else
  double* begin_ = nullptr;
  std::size_t n_ = 0;
#endif
};

int main() { CALLS([] { return line(); }); }
