// Detection of ranges that have no end.
// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstddef>
#include <iterator>
#include <ranges>
#include <type_traits>
#include <utility>

namespace forkmap::detail {

template <class Range> consteval bool has_no_end();

/// Whether a view has no end because its underlying range has none. Known for views of the standard
/// library only.
template <class View> inline constexpr bool is_of_endless = false;
template <class V, class F>
inline constexpr bool is_of_endless<std::ranges::transform_view<V, F>> = has_no_end<V>();
template <class V, class P>
inline constexpr bool is_of_endless<std::ranges::filter_view<V, P>> = has_no_end<V>();
template <class V> inline constexpr bool is_of_endless<std::ranges::drop_view<V>> = has_no_end<V>();
template <class V, class P>
inline constexpr bool is_of_endless<std::ranges::drop_while_view<V, P>> = has_no_end<V>();
template <class V, std::size_t N>
inline constexpr bool is_of_endless<std::ranges::elements_view<V, N>> = has_no_end<V>();
template <class V>
inline constexpr bool is_of_endless<std::ranges::join_view<V>> =
    has_no_end<V>() || has_no_end<std::ranges::range_reference_t<V>>();
template <class R> inline constexpr bool is_of_endless<std::ranges::ref_view<R>> = has_no_end<R>();
template <class R>
inline constexpr bool is_of_endless<std::ranges::owning_view<R>> = has_no_end<R>();
#ifdef __cpp_lib_ranges_enumerate
template <class V>
inline constexpr bool is_of_endless<std::ranges::enumerate_view<V>> = has_no_end<V>();
#endif
#ifdef __cpp_lib_ranges_zip
template <class... V>
inline constexpr bool is_of_endless<std::ranges::zip_view<V...>> = (has_no_end<V>() && ...);
template <class F, class... V>
inline constexpr bool is_of_endless<std::ranges::zip_transform_view<F, V...>> =
    (has_no_end<V>() && ...);
#endif

/// Whether a range's type shows that the range has no end. A range that has no end because of its
/// predicate or its size is not detected.
template <class Range> consteval bool has_no_end() {
  using range = std::remove_cvref_t<Range>;
  if constexpr (!std::ranges::range<range>)
    return false;
  else if constexpr (std::same_as<std::ranges::sentinel_t<range>, std::unreachable_sentinel_t>)
    return true;
  else
    return is_of_endless<range>;
}

/// Rejects a range that has no end where all of it is needed.
template <class Range> struct check_end {
  static_assert(!has_no_end<Range>(),
                "forkmap: this range has no end, but this call needs all of it; limit it with "
                "std::views::take(n), or use stream(tasks) or unordered(tasks), which take ranges "
                "without an end");
  static constexpr bool ok = !has_no_end<Range>();
};

}  // namespace forkmap::detail
