// Element types of arrays in C++: scalars, and aggregates that are records.
//
// Boost.PFR finds the members and their offsets. Names come from field_names, or from Boost.PFR if
// Boost is 1.84 or later.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <boost/pfr/core.hpp>
#if BOOST_VERSION >= 108400
#include <boost/pfr/core_name.hpp>
#endif

#include <forkmap/detail/array/dtype.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/array/utf8.hpp>
#include <forkmap/detail/serialize/aggregate.hpp>
#include <forkmap/field_names.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

/// A sub-array: a member that is a std::array, or nested ones, of anything but characters.
template <class T> struct sub_array {
  using element = T;
  static constexpr std::size_t rank = 0;
  static constexpr bool empty = false;
  static void extents(std::size_t* /*out*/) {}
};
template <class T, std::size_t N>
  requires(text_length<std::array<T, N>> == 0)
struct sub_array<std::array<T, N>> {
  using element = typename sub_array<T>::element;
  static constexpr std::size_t rank = 1 + sub_array<T>::rank;
  static constexpr bool empty = N == 0 || sub_array<T>::empty;
  static void extents(std::size_t* out) {
    *out = N;
    sub_array<T>::extents(out + 1);
  }
};

template <class T> consteval bool is_record();

/// Whether a member of this type can be a field.
template <class T> consteval bool is_field() {
  using element = typename sub_array<T>::element;
  if constexpr (sub_array<T>::empty || sub_array<T>::rank > shape::max_rank)
    return false;
  else if constexpr (array_scalar<element>)
    return true;
  else
    return is_record<element>();
}

template <class T> consteval bool is_record() {
  if constexpr (!std::is_class_v<T> || !std::is_aggregate_v<T> || std::is_empty_v<T> ||
                !std::is_trivially_copyable_v<T> || !std::is_default_constructible_v<T> ||
                sub_array<T>::rank > 0) {
    return false;
  } else if constexpr (has_base_or_array_member<T>()) {
    return false;  // Boost.PFR does not list these
  } else {
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (is_field<boost::pfr::tuple_element_t<I, T>>() && ...);
    }(std::make_index_sequence<boost::pfr::tuple_size_v<T>>{});
  }
}

/// An aggregate whose members are scalars, records, and std::arrays of these.
template <class T>
concept array_record =
    std::same_as<T, std::remove_cvref_t<T>> && !array_scalar<T> && is_record<T>();

/// The element type of an array.
template <class T>
concept array_element = array_scalar<T> || array_record<T>;

/// The compile error for a type that is not an array_element.
template <class T> consteval bool check_element() {
  static_assert(
      array_element<T>,
      "forkmap: the elements of an array must be bool, integers, floating-point or complex "
      "numbers, half, fixed_string, std::byte, or aggregates of these and of std::array "
      "(trivially copyable, without base class and C array)");
  return true;
}

/// The names of a record's members; empty if they are not known.
template <class T> constexpr auto names_of_fields() {
  if constexpr (field_names<T>.size() != 0) {
    static_assert(field_names<T>.size() == boost::pfr::tuple_size_v<T>,
                  "forkmap: field_names<T> must have as many names as T has members");
    return field_names<T>;
  } else {
#if defined(BOOST_PFR_CORE_NAME_ENABLED) && BOOST_PFR_CORE_NAME_ENABLED
    return boost::pfr::names_as_array<T>();
#else
    return field_names<T>;
#endif
  }
}

/// Throws std::invalid_argument if a name is empty, repeated or not UTF-8.
template <class Lazy = void> void check_field_names(std::span<std::string_view const> names) {
  for (auto const name : names) {
    bool const repeated = std::count(names.begin(), names.end(), name) > 1;
    if (name.empty() || repeated || !is_utf8(name)) {
      throw std::invalid_argument("forkmap: field_names: " + in_quotes(name) +
                                  (repeated ? " occurs twice" : " is empty or not UTF-8"));
    }
  }
}

/// Kind and size, without fields.
template <array_element T> constexpr dtype element_dtype() {
  if constexpr (array_scalar<T>)
    return dtype_of<T>();
  else
    return {'V', '|', sizeof(T)};
}

template <array_element T> element_type describe_element();

template <class T> std::vector<record_field> describe_fields() {
  static constexpr auto names = names_of_fields<T>();
  check_field_names(names);
  std::vector<record_field> fields;
  fields.reserve(boost::pfr::tuple_size_v<T>);
  // Only the addresses of its members are used.
  T const probe{};
  auto const* const first = reinterpret_cast<std::byte const*>(&probe);
  boost::pfr::for_each_field(probe, [&]<class Member>(Member const& member, std::size_t i) {
    using sub = sub_array<Member>;
    auto element = describe_element<typename sub::element>();
    std::array<std::size_t, sub::rank + 1> extents{};
    sub::extents(extents.data());
    record_field field;
    if (!names.empty()) field.name = names[i];
    field.offset = static_cast<std::size_t>(reinterpret_cast<std::byte const*>(&member) - first);
    field.type = element.type;
    field.fields = std::move(element.fields);
    if (sub::rank > 0) field.dims = shape(std::span<std::size_t const>(extents.data(), sub::rank));
    fields.push_back(std::move(field));
  });
  return fields;
}

/// The type of T in a file.
/// Errors: std::invalid_argument if a name in field_names<T> is invalid.
template <array_element T> element_type describe_element() {
  element_type result{element_dtype<T>(), {}};
  if constexpr (array_record<T>) result.fields = describe_fields<T>();
  return result;
}

}  // namespace forkmap::detail
