// Traits of tasks that can be sent to a process without access to the caller's memory, and the
// reasons why others cannot.
// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <ranges>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <forkmap/delayed.hpp>
#include <forkmap/detail/serialize/traits.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

template <class T> inline constexpr bool is_delayed_call = false;
template <class Fn, class... Args>
inline constexpr bool is_delayed_call<delayed_call<Fn, Args...>> = true;

/// A pointer to a function or to a member. Its value is valid in every process of a program.
template <class T>
concept function_address = (std::is_pointer_v<T> && std::is_function_v<std::remove_pointer_t<T>>) ||
                           std::is_member_pointer_v<T>;

/// A callable without state: a lambda that captures nothing, std::plus<>.
template <class T>
concept stateless = std::is_class_v<T> && std::is_empty_v<T> && std::is_trivially_copyable_v<T>;

/// How an argument is sent to a pool's worker.
enum class sent {
  as_value,
  as_address,
  as_stateless,
  as_call,  // a delayed call
  as_c_string,
  as_elements,        // a string_view, or a span of const elements
  as_objects,         // a span of const elements that are not sent as bytes, such as strings
  as_reference,       // std::cref(container)
  mutable_reference,  // std::ref; refused, as all below
  mutable_span,
  pointer,
  cannot_be_taken_apart,
};

template <class T>
concept sendable_elements =
    std::ranges::contiguous_range<T const> &&
    std::is_trivially_copyable_v<std::ranges::range_value_t<T const>> &&
    // Blocks are aligned to at most one cache line.
    alignof(std::ranges::range_value_t<T const>) <= 64 &&
    (serialization_of<std::ranges::range_value_t<T const>> == encoding::as_bytes);

/// A range that can be rebuilt from its elements: containers of the standard library, and views.
template <class T>
concept sent_as_elements =
    sendable_elements<T> &&
    (std::ranges::view<T> || requires { std::tuple_size<T>::value; } ||
     requires(T& rebuilt, std::ranges::range_value_t<T const> const* p) { rebuilt.assign(p, p); });

/// A type whose serializer has functions of their own for arguments, which send a reference.
template <class T>
concept sent_by_argument_serializer = requires(writer& out, reader& in, T const& value) {
  serializer<T>::save_argument(out, value);
  { serializer<T>::load_argument(in) } -> std::convertible_to<T>;
};

template <class T> consteval sent way_to_send() {
  using value = std::remove_cvref_t<T>;
  if constexpr (std::is_lvalue_reference_v<T> && sent_by_argument_serializer<value>) {
    return std::is_const_v<std::remove_reference_t<T>> ? sent::as_value : sent::mutable_reference;
  } else if constexpr (std::is_lvalue_reference_v<T>) {
    if constexpr (!std::is_const_v<std::remove_reference_t<T>>)
      return sent::mutable_reference;
    else if constexpr (refused(serialization_of<value>))
      return sent::cannot_be_taken_apart;
    else
      return sent::as_reference;
  } else if constexpr (function_address<value>) {
    return sent::as_address;
  } else if constexpr (is_delayed_call<value>) {
    return sent::as_call;
  } else if constexpr (std::same_as<value, char const*>) {
    return sent::as_c_string;
  } else if constexpr (is_span<value>) {
    if constexpr (!std::is_const_v<typename value::element_type>)
      return sent::mutable_span;
    else if constexpr (sendable_elements<value>)
      return sent::as_elements;
    else if constexpr (!refused(serialization_of<std::remove_cv_t<typename value::element_type>>))
      return sent::as_objects;
    else
      return sent::cannot_be_taken_apart;
  } else if constexpr (is_a<value, std::basic_string_view>) {
    return sent::as_elements;
  } else if constexpr (stateless<value> && !has_serializer<value>) {
    return sent::as_stateless;
  } else if constexpr (serialization_of<value> == encoding::points_into_worker) {
    return sent::pointer;
  } else if constexpr (refused(serialization_of<value>)) {
    return sent::cannot_be_taken_apart;
  } else {
    return sent::as_value;
  }
}
template <class T> inline constexpr sent sent_as = way_to_send<T>();
template <class T> inline constexpr bool can_be_sent = sent_as<T> < sent::mutable_reference;

/// Why an argument type is refused. These are variable templates, so that compilers print the type
/// with the error.
template <class T>
inline constexpr bool is_a_mutable_reference = sent_as<T> == sent::mutable_reference;
template <class T> inline constexpr bool is_a_mutable_span = sent_as<T> == sent::mutable_span;
template <class T> inline constexpr bool is_a_pointer = sent_as<T> == sent::pointer;
template <class T>
inline constexpr bool has_no_way_to_be_sent = sent_as<T> == sent::cannot_be_taken_apart;

/// The type in a worker of an argument that is stored as T: T, or for std::cref of a container a
/// span, or a reference to the worker's copy of the container.
template <class T, bool CrefAsSpan>
using received_as = std::conditional_t<
    sent_as<T> == sent::as_reference,
    typename std::conditional_t<
        CrefAsSpan && sent_as_elements<std::remove_cvref_t<T>>,
        std::type_identity<std::span<std::ranges::range_value_t<
            std::conditional_t<sent_as_elements<std::remove_cvref_t<T>>, std::remove_cvref_t<T>,
                               std::span<char const>>> const>>,
        std::type_identity<std::remove_cvref_t<T> const&>>::type,
    std::remove_cvref_t<T>>;

/// The type in a worker of a task that is stored as T.
template <class T> struct received_call {
  using type = T;
};
template <class Fn, class... Args> struct received_call<delayed_call<Fn, Args...>> {
  static constexpr bool with_spans = arguments_to_move<Fn, received_as<Args, true>...>() >= 0;
  using type = delayed_call<typename received_call<Fn>::type, received_as<Args, with_spans>...>;
};

/// A callable that can be sent, without regard to the arguments that it holds: see check_argument.
template <class T>
concept sendable_callable = function_address<T> || stateless<T> || is_delayed_call<T>;

/// Rejects a callable or an argument that cannot be sent, with an error that says what to do
/// instead.
template <class T> struct check_sendable {
  static_assert(
      sendable_callable<T>,
      "forkmap: a pool takes functions, lambdas without captures, and delayed(fn)(args...)"
      " of these: its workers cannot read the caller's memory; pass what a lambda captures "
      "as arguments of delayed, or use forkmap::parallel, whose workers can");
  static constexpr bool ok = sendable_callable<T>;
};
template <class T> struct check_argument {
  static_assert(!is_a_mutable_reference<T>,
                "forkmap: std::ref of an argument: a pool's worker cannot write to the caller's "
                "object; pass a copy, std::cref, or a shared_array or memmap to write to");
  static_assert(!is_a_mutable_span<T>,
                "forkmap: a span of mutable elements: a pool's worker cannot write to the caller's "
                "memory; pass std::span<T const>, or a shared_array or memmap to write to");
  static_assert(!is_a_pointer<T>,
                "forkmap: an argument is, or holds, a pointer, reference or view, which is not "
                "valid in a pool's worker; pass the data itself, or std::span<T const> of it");
  static_assert(!has_no_way_to_be_sent<T>,
                "forkmap: an argument is, or holds, a class that forkmap cannot serialize to send "
                "it to a pool's worker; specialise forkmap::serializer for it");
  static constexpr bool ok = can_be_sent<T>;
};
template <class Fn, class... Args> struct check_sendable<delayed_call<Fn, Args...>> {
  static constexpr bool ok = (check_sendable<Fn>::ok && ... && check_argument<Args>::ok);
};

}  // namespace forkmap::detail
