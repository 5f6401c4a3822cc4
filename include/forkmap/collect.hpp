// A lazy range, evaluated now.
#pragma once

#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

namespace forkmap {

/// Evaluates a range in the caller, for lazy views whose elements have side effects (a counter, a
/// random draw): a map would evaluate them in its workers, where the effects stay.
/// Returns: a std::vector of the range's values; those of a container that is given away are moved.
/// Example: `parallel(2)(collect(tasks_of_a_generator))`.
template <std::ranges::input_range Range> auto collect(Range&& range) {
  std::vector<std::ranges::range_value_t<Range>> values;
  if constexpr (std::ranges::sized_range<Range>) values.reserve(std::ranges::size(range));
  // That it owns its elements only a container says; a generator or a view of another library need not.
  constexpr bool given_away = !std::is_lvalue_reference_v<Range> &&
                              std::ranges::forward_range<Range> &&
                              requires { typename std::remove_cv_t<Range>::allocator_type; };
  for (auto&& each : range) {
    if constexpr (given_away)
      values.emplace_back(std::move(each));
    else
      values.emplace_back(std::forward<decltype(each)>(each));
  }
  return values;
}

}  // namespace forkmap
