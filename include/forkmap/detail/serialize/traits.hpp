// Traits of types that can be sent between processes, and the reasons why others cannot.
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string_view>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <boost/pfr/core.hpp>

#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/serialize/aggregate.hpp>
#include <forkmap/detail/serialize/known_address.hpp>
#include <forkmap/detail/serialize/view_like.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

/// How values of a type are sent.
enum class encoding {
  by_serializer,  // forkmap::serializer<T> is specialised
  by_address,     // of an object of both processes: serialize/known_address.hpp
  as_bytes,       // trivially copyable, and so are all members that can be listed
  as_container,   // element by element
  as_path,        // std::filesystem::path: its native string
  as_tuple,       // std::pair, std::tuple, std::array
  as_optional,
  as_variant,
  as_unique_ptr,
  as_aggregate,              // member by member
  points_into_worker,        // refused: the caller cannot read the worker's memory
  has_base_or_array_member,  // refused: the members of such an aggregate cannot be listed
  unknown,                   // refused: no encoding fits
};

template <class T, template <class...> class Template> inline constexpr bool is_a = false;
template <template <class...> class Template, class... Args>
inline constexpr bool is_a<Template<Args...>, Template> = true;

template <class T> inline constexpr bool is_std_array = false;
template <class T, std::size_t N> inline constexpr bool is_std_array<std::array<T, N>> = true;
template <class T> inline constexpr bool is_span = false;
template <class T, std::size_t N> inline constexpr bool is_span<std::span<T, N>> = true;
template <class T> inline constexpr bool is_default_unique_ptr = false;
template <class T>
inline constexpr bool is_default_unique_ptr<std::unique_ptr<T>> =
    !std::is_array_v<T>;  // its size is not known

template <class T>
concept has_serializer = requires(writer& out, reader& in, T const& value) {
  serializer<T>::save(out, value);
  { serializer<T>::load(in) } -> std::convertible_to<T>;
};

/// A pointer into memory, under whatever name.
template <class T>
concept pointer_like =
    (std::is_pointer_v<T> && !std::is_function_v<std::remove_pointer_t<T>>) || is_span<T> ||
    is_a<T, std::basic_string_view> || is_a<T, std::reference_wrapper> ||
    is_a<T, std::initializer_list> || std::ranges::view<T> ||
    (std::input_or_output_iterator<T> && std::is_class_v<T>);

/// std::filesystem::path, detected without its header. A path is a range of paths, so that it must
/// not be treated as a container.
template <class T>
concept path_like = requires(T const& path) {
  typename T::string_type;
  { path.native() } -> std::same_as<typename T::string_type const&>;
  path.lexically_normal();
};

/// A container whose comparator or hash function is restored by default construction. A function
/// pointer, or a lambda with captures, would be lost.
template <class T>
concept keeps_its_order =
    (!requires { typename T::key_compare; } || requires { requires std::is_empty_v<typename T::key_compare>; }) &&
    (!requires { typename T::hasher; } || requires { requires std::is_empty_v<typename T::hasher>; }) &&
    (!requires { typename T::key_equal; } || requires { requires std::is_empty_v<typename T::key_equal>; });

/// A container that owns its elements and can be filled element by element.
template <class T>
concept container = std::ranges::forward_range<T const> && !std::ranges::view<T> &&
                    std::default_initializable<T> && std::movable<T> && keeps_its_order<T> && requires {
  typename T::value_type;
}
&&(
    requires(T& c, typename T::value_type&& v) { c.push_back(std::move(v)); } ||
    requires(T & c, typename T::value_type&& v) { c.insert(std::move(v)); } ||
    requires(T & c, typename T::value_type&& v) {
      c.insert_after(c.before_begin(), std::move(v));
    });

/// The type of an element as it is sent. A map's value_type has a const key, which is sent without
/// const.
template <class T> struct stored_element {
  using type = T;
};
template <class K, class V> struct stored_element<std::pair<K const, V>> {
  using type = std::pair<K, V>;
};
template <class C> using element_of = typename stored_element<typename C::value_type>::type;

/// The encoding of T. Outer: the types that contain T. A type inside itself (a tree) is checked
/// once.
template <class T, class... Outer> consteval encoding encoding_for();

template <class T> inline constexpr encoding serialization_of = encoding_for<std::remove_cv_t<T>>();

constexpr bool refused(encoding chosen) { return chosen >= encoding::points_into_worker; }

/// `chosen` if every part can be sent, else the first refusal.
consteval encoding if_all(encoding chosen, std::initializer_list<encoding> parts) {
  for (auto part : parts) {
    if (refused(part)) return part;
  }
  return chosen;
}
/// As if_all(), but as_bytes if T is trivially copyable and all parts are as_bytes.
template <class T>
consteval encoding whole_of(encoding chosen, std::initializer_list<encoding> parts) {
  bool only_bytes = std::is_trivially_copyable_v<T>;
  for (auto part : parts) only_bytes = only_bytes && part == encoding::as_bytes;
  return only_bytes ? encoding::as_bytes : if_all(chosen, parts);
}

template <class T> consteval bool points_into_worker() {
  return serialization_of<T> == encoding::points_into_worker;
}
template <class T> consteval bool is_sent_as_bytes() {
  return serialization_of<T> == encoding::as_bytes;
}

template <class T, class... Outer> consteval encoding members_are_serializable() {
  return []<std::size_t... I>(std::index_sequence<I...>) {
    return if_all(encoding::as_aggregate, {encoding_for<member_type<I, T>, T, Outer...>()...});
  }(std::make_index_sequence<n_members<T>()>{});
}

template <class T, class... Outer> consteval encoding encoding_for() {
  if constexpr ((std::same_as<T, Outer> || ...)) {
    return encoding::as_bytes;
  } else if constexpr (has_serializer<T>) {
    return encoding::by_serializer;
  } else if constexpr (known_by_address<T>) {
    return encoding::by_address;
  } else if constexpr (pointer_like<T> || std::is_reference_v<T>) {
    return encoding::points_into_worker;
  } else if constexpr (is_a<T, std::pair> || is_a<T, std::tuple>) {
    return []<class... E>(std::type_identity<std::tuple<E...>>) {
      return whole_of<T>(encoding::as_tuple, {encoding_for<std::remove_cv_t<E>, T, Outer...>()...});
    }(std::type_identity<decltype(std::tuple_cat(std::declval<T>()))>{});
  } else if constexpr (is_std_array<T>) {
    return whole_of<T>(encoding::as_tuple,
                       {encoding_for<std::remove_cv_t<typename T::value_type>, T, Outer...>()});
  } else if constexpr (is_a<T, std::optional>) {
    return whole_of<T>(encoding::as_optional,
                       {encoding_for<std::remove_cv_t<typename T::value_type>, T, Outer...>()});
  } else if constexpr (is_a<T, std::variant>) {
    return []<class... E>(std::type_identity<std::variant<E...>>) {
      return whole_of<T>(encoding::as_variant,
                         {encoding_for<std::remove_cv_t<E>, T, Outer...>()...});
    }(std::type_identity<T>{});
  } else if constexpr (is_default_unique_ptr<T>) {
    using pointee = std::remove_cv_t<typename T::element_type>;
    // A polymorphic pointee would be sliced to its static type.
    if constexpr (std::is_polymorphic_v<pointee>)
      return encoding::unknown;
    else
      return if_all(encoding::as_unique_ptr, {encoding_for<pointee, T, Outer...>()});
  } else if constexpr (path_like<T>) {
    return encoding::as_path;
  } else if constexpr (container<T>) {
    return if_all(encoding::as_container, {encoding_for<element_of<T>, T, Outer...>()});
  } else if constexpr (is_view_like<T>() || pointer_class<T> || coroutine_handle_like<T> ||
                       std::same_as<T, std::thread::id>) {
    return encoding::points_into_worker;
  } else if constexpr (std::is_trivially_copyable_v<T> && !std::is_aggregate_v<T>) {
    return encoding::as_bytes;
  } else if constexpr (std::is_trivially_copyable_v<T>) {
    if constexpr (holds_reference<T>())
      return encoding::points_into_worker;
    else if constexpr (!breaks<T, only_bytes>())
      return encoding::as_bytes;
    else if constexpr (breaks<T, no_pointers>())
      return encoding::points_into_worker;
    else if constexpr (has_base_or_array_member<T>())
      return encoding::has_base_or_array_member;
    else
      return members_are_serializable<T, Outer...>();
  } else if constexpr (std::is_aggregate_v<T> && !std::is_array_v<T>) {
    if constexpr (has_base_or_array_member<T>())
      return encoding::has_base_or_array_member;
    else if constexpr (holds_reference<T>())
      return encoding::points_into_worker;
    else
      return members_are_serializable<T, Outer...>();
  } else {
    return encoding::unknown;
  }
}

/// A type that a task may return.
template <class T>
concept transferable = std::is_void_v<T> || !refused(serialization_of<T>);

/// A result that needs no encoding: it is constructed in its slot in shared memory.
template <class T>
concept inline_result_type =
    std::is_trivially_copyable_v<T> && !std::is_void_v<T> && alignof(T) <= page_bytes &&
    (serialization_of<T> == encoding::as_bytes);

/// Why a result type is refused. These are variable templates, so that compilers print the type
/// with the error.
template <class T> inline constexpr encoding serializable_or_void = serialization_of<T>;
template <> inline constexpr encoding serializable_or_void<void> = encoding::as_bytes;
template <class T>
inline constexpr bool points_into_worker_memory =
    serializable_or_void<T> == encoding::points_into_worker;
template <class T>
inline constexpr bool members_cannot_be_listed =
    serializable_or_void<T> == encoding::has_base_or_array_member;
template <class T>
inline constexpr bool is_not_serializable = serializable_or_void<T> == encoding::unknown;

/// Rejects a result type that cannot be sent, with an error that says what to do instead. `type` is
/// the result type, or void where it is rejected, so that one mistake gives one error.
template <class Result, class Returned = Result> struct task_result {
  static_assert(!points_into_worker_memory<Result>,
                "forkmap: this task's result type is, or holds, a pointer, reference, iterator, "
                "string_view or span into the memory of a worker, which the caller cannot read; "
                "return the data itself (a value, a std::string, a std::vector)");
  static_assert(!members_cannot_be_listed<Result>,
                "forkmap: this task's result type is, or holds, an aggregate with a base class or "
                "a C array, whose members cannot be listed; use std::array, or specialise "
                "forkmap::serializer for it");
  static_assert(!is_not_serializable<Result>,
                "forkmap: this task's result type is, or holds, a class that forkmap cannot "
                "serialize to send it to the caller; specialise forkmap::serializer for it");
  static_assert(std::is_void_v<Result> || std::constructible_from<Result, Returned>,
                "forkmap: this task returns a reference to something that cannot be copied; return "
                "it by value, with std::move");
  using type =
      std::conditional_t<transferable<Result> &&
                             (std::is_void_v<Result> || std::constructible_from<Result, Returned>),
                         Result, void>;
};

}  // namespace forkmap::detail
