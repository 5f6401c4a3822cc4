// Evaluation of a lazy range in the caller.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

#include <forkmap/detail/job/endless.hpp>

namespace forkmap {

/// Evaluates a range in the caller. Use it for lazy views whose elements have side effects (a
/// counter, a random draw): a map evaluates such elements in its workers, and the side effects stay
/// there.
///
/// Returns: a std::vector of the range's values. The elements of a container passed as an rvalue
///   are moved.
/// Errors: a range without an end does not compile.
/// Example: `forkmap::parallel(2)(forkmap::collect(tasks))`
template <std::ranges::input_range Range> auto collect(Range&& range) {
  static_cast<void>(detail::check_end<Range>::ok);
  std::vector<std::ranges::range_value_t<Range>> values;
  if constexpr (std::ranges::sized_range<Range>) values.reserve(std::ranges::size(range));
  // Only a container (allocator_type) is known to own its elements; a view or a generator may not.
  constexpr bool may_move = !std::is_lvalue_reference_v<Range> &&
                            std::ranges::forward_range<Range> &&
                            requires { typename std::remove_cv_t<Range>::allocator_type; };
  for (auto&& value : range) {
    if constexpr (may_move)
      values.emplace_back(std::move(value));
    else
      values.emplace_back(std::forward<decltype(value)>(value));
  }
  return values;
}

}  // namespace forkmap
