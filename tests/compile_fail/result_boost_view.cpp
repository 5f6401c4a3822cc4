// expect: into the memory of a worker, which the caller cannot read
// mention: task_result<.*string_view
// SPDX-License-Identifier: MIT
#include <string>
#include <vector>

#include <boost/utility/string_view.hpp>

#include <forkmap/forkmap.hpp>

int main() {
#ifdef CONTROL
  using text = std::string;
#else
  using text = boost::string_view;
#endif
  CALLS.map([](int) { return std::vector<text>(3); }, std::vector{1, 2});
}
