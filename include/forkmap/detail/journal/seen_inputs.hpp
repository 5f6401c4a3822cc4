// Hashing of a call's inputs, so that the next run of the program can recognise them.
// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <forkmap/detail/journal/digest.hpp>
#include <forkmap/detail/serialize/aggregate.hpp>
#include <forkmap/detail/serialize/send_traits.hpp>
#include <forkmap/detail/serialize/traits.hpp>
#include <forkmap/writer.hpp>

namespace forkmap {
template <class T> class shared_array;
}  // namespace forkmap

namespace forkmap::detail {

/// An array that refers to a file: memmap. Its path, offset, dims and layout are hashed.
template <class T>
concept names_a_file = has_serializer<T> && requires(T const& array) {
  array.path().native();
  array.offset();
  array.dims().rank();
};

template <class T>
concept complex_number = requires(T const& value) {
  requires std::is_floating_point_v<typename T::value_type>;
  { value.real() } -> std::same_as<typename T::value_type>;
  { value.imag() } -> std::same_as<typename T::value_type>;
};

/// forkmap's own scalars: half (hashed by bits()) and fixed_string (hashed by view()).
template <class T>
concept given_by_bits = requires(T const& value) {
  { T::from_bits(value.bits()) } -> std::same_as<T>;
};
template <class T>
concept given_by_view = requires(T const& value) {
  { value.view() } -> std::same_as<typename T::view_type>;
};

template <class T>
concept time_value = is_a<T, std::chrono::time_point> || requires(T const& time) {
  typename T::period;
  time.count();
};

/// A class whose std::hash depends on its value only. Pointer-like classes and error codes are
/// excluded, because their hash depends on an address.
template <class T>
concept hashed_by_value =
    std::is_class_v<T> && !std::same_as<T, std::error_code> &&
    !std::same_as<T, std::error_condition> && !requires { typename T::element_type; } &&
    !requires(T const& value) { *value; } && requires(T const& value) {
      { std::hash<T>{}(value) } -> std::convertible_to<std::size_t>;
    };

/// Converts to pointers to functions and to members only.
struct any_function {
  template <class U>
    requires(function_address<U>)
  operator U() const noexcept {  // NOLINT(google-explicit-constructor): implicit on purpose
    __builtin_unreachable();
  }
};
template <class T> consteval bool holds_function() {
  return []<std::size_t... I>(std::index_sequence<I...>) {
    return ((takes_last<T, any_function>(std::make_index_sequence<I>{}) &&
             !takes_last<T, unknown_to_all>(std::make_index_sequence<I>{})) ||
            ...);
  }(std::make_index_sequence<count_initialisers<T>()>{});
}

/// An aggregate that can be hashed as bytes: equal values have equal bytes, except for padding.
template <class T> consteval bool is_plain_aggregate() {
  if constexpr (!std::is_trivially_copyable_v<T> || !std::is_aggregate_v<T> ||
                !std::is_class_v<T>) {
    return false;
  } else if constexpr (refused(serialization_of<T>) || holds_function<T>()) {
    return false;
  } else {
#if __has_builtin(__builtin_clear_padding)
    return true;
#else
    return std::has_unique_object_representations_v<T>;
#endif
  }
}

/// Whether the whole value of a T can be hashed, with the same result in another run. Outer: the
/// types that contain T.
template <class T, class... Outer> consteval bool is_seen() {
  if constexpr ((std::same_as<T, Outer> || ...)) {
    return true;
  } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T> || time_value<T> ||
                       complex_number<T> || path_like<T> || names_a_file<T> || given_by_bits<T> ||
                       given_by_view<T>) {
    return true;
  } else if constexpr (is_a<T, shared_array>) {
    return false;
  } else if constexpr (has_serializer<T>) {
    return true;
  } else if constexpr (is_span<T>) {
    return std::is_const_v<typename T::element_type> &&
           is_seen<std::remove_cv_t<typename T::element_type>, T, Outer...>();
  } else if constexpr (is_a<T, std::basic_string_view>) {
    return true;
  } else if constexpr (is_a<T, std::reference_wrapper>) {
    return std::is_const_v<typename T::type> &&
           is_seen<std::remove_cv_t<typename T::type>, T, Outer...>();
  } else if constexpr (pointer_like<T>) {
    return false;
  } else if constexpr (is_a<T, std::pair> || is_a<T, std::tuple>) {
    return []<class... E>(std::type_identity<std::tuple<E...>>) {
      return (is_seen<std::remove_cv_t<E>, T, Outer...>() && ...);
    }(std::type_identity<decltype(std::tuple_cat(std::declval<T>()))>{});
  } else if constexpr (is_std_array<T> || is_a<T, std::optional>) {
    return is_seen<std::remove_cv_t<typename T::value_type>, T, Outer...>();
  } else if constexpr (is_a<T, std::variant>) {
    return []<class... E>(std::type_identity<std::variant<E...>>) {
      return (is_seen<std::remove_cv_t<E>, T, Outer...>() && ...);
    }(std::type_identity<T>{});
  } else if constexpr (is_default_unique_ptr<T>) {
    using pointee = std::remove_cv_t<typename T::element_type>;
    if constexpr (std::is_polymorphic_v<pointee>)
      return false;
    else
      return is_seen<pointee, T, Outer...>();
  } else if constexpr (container<T>) {
    return is_seen<element_of<T>, T, Outer...>();
  } else if constexpr (stateless<T> || is_plain_aggregate<T>()) {
    return true;
  } else if constexpr (std::is_aggregate_v<T> && serialization_of<T> == encoding::as_aggregate) {
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (is_seen<member_type<I, T>, T, Outer...>() && ...);
    }(std::make_index_sequence<n_members<T>()>{});
  } else {
    return hashed_by_value<T>;
  }
}

template <class T> void look_at(input_digest& into, T const& value);

template <class Range> void look_at_each(input_digest& into, Range const& range) {
  using element = std::remove_cvref_t<std::ranges::range_reference_t<Range const>>;
  if constexpr (requires { typename Range::hasher; }) {
    std::uint64_t all = 0;  // a sum: the order of the elements is unspecified
    for (auto const& value : range) {
      auto const outer = std::exchange(into.sum, {});
      look_at(into, value);
      all += std::exchange(into.sum, outer).value();
    }
    into.sum.number(all);
  } else if constexpr (std::ranges::contiguous_range<Range const> &&
                       std::is_arithmetic_v<element> && !std::same_as<element, long double>) {
    auto const n = static_cast<std::size_t>(std::ranges::size(range)) * sizeof(element);
    into.sum.bytes(std::ranges::data(range), n);
  } else {
    std::uint64_t n = 0;
    for (auto&& value : range) {
      look_at<element>(into, value);
      ++n;
    }
    into.sum.number(n);
  }
}

/// Adds a value to the digest.
/// Precondition: is_seen<T>().
template <class T> void look_at(input_digest& into, T const& value) {
  if constexpr (std::same_as<T, long double>) {
    auto const high = static_cast<double>(value);
    look_at(into, high);
    look_at(into, static_cast<double>(value - high));
  } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
    std::uint64_t word = 0;
    if constexpr (sizeof(T) > sizeof word)
      into.sum.bytes(&value, sizeof value);
    else
      std::memcpy(&word, &value, sizeof value), into.sum.number(word);
  } else if constexpr (is_a<T, std::chrono::time_point>) {
    look_at(into, value.time_since_epoch().count());
  } else if constexpr (time_value<T>) {
    look_at(into, value.count());
  } else if constexpr (complex_number<T>) {
    look_at(into, value.real());
    look_at(into, value.imag());
  } else if constexpr (given_by_bits<T>) {
    look_at(into, value.bits());
  } else if constexpr (given_by_view<T>) {
    look_at_each(into, value.view());
  } else if constexpr (path_like<T>) {
    look_at_each(into, value.native());
  } else if constexpr (names_a_file<T>) {
    look_at_each(into, value.path().native());
    look_at(into, static_cast<std::uint64_t>(value.offset()));
    look_at(into, static_cast<std::uint64_t>(value.dims().rank()));
    for (std::size_t i = 0; i != value.dims().rank(); ++i)
      look_at(into, static_cast<std::uint64_t>(value.dims()[i]));
    look_at(into, static_cast<std::uint64_t>(value.layout()));
  } else if constexpr (has_serializer<T>) {
    digest_writer out;
    serializer<T>::save(out, value);
    out.add_to(into.sum);
  } else if constexpr (is_span<T> || is_a<T, std::basic_string_view>) {
    auto const bytes = value.size() * sizeof(typename T::value_type);
    if (bytes < input_digest::worth_keeping) return look_at_each(into, value);
    into.sum.number(into.of_shared(value.data(), bytes, [&] {
      auto const outer = std::exchange(into.sum, {});
      look_at_each(into, value);
      return std::exchange(into.sum, outer).value();
    }));
  } else if constexpr (is_a<T, std::reference_wrapper>) {
    look_at<std::remove_cv_t<typename T::type>>(into, value.get());
  } else if constexpr (is_a<T, std::pair> || is_a<T, std::tuple>) {
    std::apply(
        [&](auto const&... parts) {
          (look_at<std::remove_cvref_t<decltype(parts)>>(into, parts), ...);
        },
        value);
  } else if constexpr (is_std_array<T>) {
    look_at_each(into, value);
  } else if constexpr (is_a<T, std::optional> || is_default_unique_ptr<T>) {
    into.sum.number(value ? 1 : 0);
    if (value) look_at<std::remove_cvref_t<decltype(*value)>>(into, *value);
  } else if constexpr (is_a<T, std::variant>) {
    into.sum.number(value.index());
    if (value.valueless_by_exception()) return;
    std::visit([&](auto const& alternative) { look_at(into, alternative); }, value);
  } else if constexpr (container<T>) {
    look_at_each(into, value);
  } else if constexpr (stateless<T>) {
    // No state to hash.
  } else if constexpr (is_plain_aggregate<T>()) {
    alignas(T) std::byte copy[sizeof(T)];
    std::memcpy(copy, std::addressof(value), sizeof copy);
#if __has_builtin(__builtin_clear_padding)
    __builtin_clear_padding(reinterpret_cast<T*>(copy));
#endif
    into.sum.bytes(copy, sizeof copy);
  } else if constexpr (serialization_of<T> == encoding::as_aggregate && std::is_aggregate_v<T>) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (look_at<member_type<I, T>>(into, member_of<I>(value)), ...);
    }(std::make_index_sequence<n_members<T>()>{});
  } else {
    into.sum.number(std::hash<T>{}(value));
  }
}

}  // namespace forkmap::detail
