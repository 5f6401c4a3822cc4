// Types and algorithms that compilers instantiate only where they are used.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <vector>

namespace forkmap::detail {

template <class T, class Lazy> struct lazy_type {
  using type = T;
};
/// T, as a dependent type. In a template with a parameter Lazy, std::optional<lazily<T, Lazy>> is
/// instantiated together with the template. std::optional<T> would be instantiated as soon as the
/// template is parsed, in each file that includes forkmap.
template <class T, class Lazy> using lazily = typename lazy_type<T, Lazy>::type;

// Sorting of names in a file. Standard algorithms are constexpr, so that compilers instantiate them
// even in templates that are never used. These functions are instantiated only where they are used.

template <class T> void sort(std::vector<T>& values) { std::sort(values.begin(), values.end()); }

/// Sorts `values`.
/// Returns: a value that occurs twice; null if there is none.
template <class T> T const* find_twice(std::vector<T>& values) {
  sort(values);
  auto const twice = std::adjacent_find(values.begin(), values.end());
  return twice == values.end() ? nullptr : &*twice;
}

}  // namespace forkmap::detail
