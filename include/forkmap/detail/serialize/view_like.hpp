// Detection of trivially copyable classes that refer to elements elsewhere: views of other
// libraries.
// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstddef>
#include <ranges>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>

namespace forkmap::detail {

template <std::size_t N> struct raw_bytes {
  unsigned char bytes[N];
};

/// Whether a constant expression can bit_cast bytes to T. Then no part of T, private ones included,
/// is a pointer, a reference or a union. Also false for some types without these: if T has
/// bit-fields, or with g++ if T has no constexpr constructor.
/// Source: ISO C++20, [bit.cast]/3.
template <class T>
concept holds_no_address = requires {
  typename std::bool_constant<(static_cast<void>(__builtin_bit_cast(T, raw_bytes<sizeof(T)>{})),
                               true)>;
};

/// Whether T consists of Elements only, even if its members are private: sizeof(T) /
/// sizeof(Element) of them, as an array or (up to 4) as separate members.
template <class T, class Element> consteval bool is_array_of() {
#if defined(__has_builtin)
#if __has_builtin(__is_layout_compatible)
  constexpr auto n = sizeof(T) / sizeof(Element);
  if constexpr (n * sizeof(Element) == sizeof(T)) {
    struct in_array {
      Element all[n];
    };
    struct one {
      Element a;
    };
    struct two {
      Element a, b;
    };
    struct three {
      Element a, b, c;
    };
    struct four {
      Element a, b, c, d;
    };
    return __is_layout_compatible(T, in_array) || __is_layout_compatible(T, one) ||
           __is_layout_compatible(T, two) || __is_layout_compatible(T, three) ||
           __is_layout_compatible(T, four);
  }
#endif
#endif
  return false;
}

/// Whether a range owns its elements: the elements of a const T are const, as in a container, or
/// their number is a constant.
template <class T> consteval bool holds_its_elements() {
  if constexpr (requires { std::tuple_size<T>::value; }) {
    return true;
  } else if constexpr (std::ranges::range<T&> && std::ranges::range<T const&>) {
    using reference = std::ranges::range_reference_t<T&>;
    using const_reference = std::ranges::range_reference_t<T const&>;
    using element = std::remove_cvref_t<reference>;
    return (std::is_lvalue_reference_v<reference> &&
            !std::is_const_v<std::remove_reference_t<reference>> &&
            std::is_const_v<std::remove_reference_t<const_reference>>) ||
           is_array_of<T, element>();
  } else {
    return false;
  }
}

template <class T, class... Element>
inline constexpr bool converts_to_span_of =
    ((std::is_convertible_v<T const&, std::span<Element>> ||
      std::is_convertible_v<T const&, std::span<Element const>>) ||
     ...);

/// T is, or converts to, a range of contiguous elements, or is a borrowed range, whose elements may
/// outlive it.
template <class T>
concept shows_elements = std::ranges::borrowed_range<T> || std::ranges::contiguous_range<T const> ||
                         std::is_convertible_v<T const&, std::string_view> ||
                         std::is_convertible_v<T const&, std::wstring_view> ||
                         std::is_convertible_v<T const&, std::u16string_view> ||
                         converts_to_span_of<T, std::byte, char, unsigned char, short, int,
                                             unsigned, long, unsigned long, float, double>;

/// The largest size of a view. Larger classes are taken to hold elements rather than addresses.
inline constexpr std::size_t largest_view = 64;

/// Whether T is a trivially copyable class that refers to elements elsewhere.
template <class T> consteval bool is_view_like() {
  if constexpr (!std::is_class_v<T> || !std::is_trivially_copyable_v<T> || std::is_empty_v<T> ||
                sizeof(T) > largest_view) {
    return false;
  } else if constexpr (holds_no_address<T>) {
    return false;
  } else if constexpr (shows_elements<T>) {
    return std::ranges::borrowed_range<T> || !holds_its_elements<T>();
  } else {
    return false;
  }
}

/// A class that acts as a pointer: a const T gives access to an object that is not const.
template <class T>
concept pointer_class = std::is_class_v<T> && std::is_trivially_copyable_v<T> &&
                        sizeof(T) <= largest_view && !holds_no_address<T> && requires(T const& t) {
                          *t;
                          t.operator->();
                          requires std::is_pointer_v<decltype(t.operator->())>;
                          requires !std::is_const_v<std::remove_reference_t<decltype(*t)>>;
                          requires std::is_lvalue_reference_v<decltype(*t)>;
                        };

/// std::coroutine_handle, or another class that refers to a coroutine by its frame's address.
template <class T>
concept coroutine_handle_like = std::is_class_v<T> && requires(T const& handle, void* frame) {
  { T::from_address(frame) } -> std::same_as<T>;
  { handle.address() } -> std::same_as<void*>;
};

}  // namespace forkmap::detail
