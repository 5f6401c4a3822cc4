// expect: field_names<T> must have as many names as T has members
// SPDX-License-Identifier: MIT
#include <forkmap/load.hpp>

struct point {
  double x, y;
};
#ifdef CONTROL
template <>
inline constexpr auto forkmap::field_names<point> = std::to_array<std::string_view>({"x", "y"});
#else
template <>
inline constexpr auto forkmap::field_names<point> = std::to_array<std::string_view>({"x"});
#endif

int main() { forkmap::load<point>("points.npy"); }
