// A lazy range, evaluated now.
#pragma once

#include <ranges>
#include <utility>
#include <vector>

namespace forkmap {

/// Evaluates a range in the caller, for lazy views whose elements have side effects (a counter, a
/// random draw): a map would evaluate them in its workers, where the effects stay.
/// Returns: a std::vector of the range's values.
/// Example: `parallel(2)(collect(tasks_of_a_generator))`.
template <std::ranges::input_range Range> auto collect(Range&& range) {
  std::vector<std::ranges::range_value_t<Range>> values;
  if constexpr (std::ranges::sized_range<Range>) values.reserve(std::ranges::size(range));
  for (auto&& each : range) values.emplace_back(std::forward<decltype(each)>(each));
  return values;
}

}  // namespace forkmap
