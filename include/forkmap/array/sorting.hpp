// Sorting what a file names. The standard's algorithms are constexpr: compilers instantiate them
// where a template that nobody uses calls them; these, where it is used.
#pragma once

#include <algorithm>
#include <vector>

namespace forkmap::detail {

template <class T> void sort(std::vector<T>& values) { std::sort(values.begin(), values.end()); }

/// Returns: one of those that are there twice, null if there is none. Sorts `values`.
template <class T> T const* find_twice(std::vector<T>& values) {
  sort(values);
  auto const twice = std::adjacent_find(values.begin(), values.end());
  return twice == values.end() ? nullptr : &*twice;
}

}  // namespace forkmap::detail
