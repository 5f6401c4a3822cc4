// Which types can travel between processes, and why the others cannot.
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
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <boost/pfr/core.hpp>

#include <forkmap/system/shared_memory.hpp>
#include <forkmap/transfer/aggregate.hpp>
#include <forkmap/transfer/bytes.hpp>

namespace forkmap::detail {

/// How a type travels.
enum class travel {
  by_serializer,  // forkmap::serializer<T> is specialised
  as_bytes,       // trivially copyable
  as_container,   // element by element
  as_path,        // std::filesystem::path: its native string
  as_tuple,       // std::pair, std::tuple, std::array
  as_optional,
  as_variant,
  as_unique_ptr,
  as_aggregate,              // member by member
  points_into_worker,        // refused: the worker's memory is gone when the caller reads it
  has_base_or_array_member,  // refused: the members of such an aggregate cannot be listed
  unknown,                   // refused: nothing tells how
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
    !std::is_array_v<T>;  // nobody knows the size of one

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

/// A path is a range of paths, so that it needs a case of its own. Named without <filesystem>.
template <class T>
concept path_like = requires(T const& path) {
  typename T::string_type;
  { path.native() } -> std::same_as<typename T::string_type const&>;
  path.lexically_normal();
};

/// A comparator or hash function that default construction makes again. A function pointer, or a
/// lambda with captures, would be lost.
template <class T>
concept keeps_its_order =
    (!requires { typename T::key_compare; } || requires { requires std::is_empty_v<typename T::key_compare>; }) &&
    (!requires { typename T::hasher; } || requires { requires std::is_empty_v<typename T::hasher>; }) &&
    (!requires { typename T::key_equal; } || requires { requires std::is_empty_v<typename T::key_equal>; });

/// A container that owns its elements and can be filled again one by one.
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

/// A map's value_type has a const key; what travels is the pair without it.
template <class T> struct stored_element {
  using type = T;
};
template <class K, class V> struct stored_element<std::pair<K const, V>> {
  using type = std::pair<K, V>;
};
template <class C> using element_of = typename stored_element<typename C::value_type>::type;

/// Outer: the types that T is being looked at as a part of; one of them again (a tree) is judged once.
template <class T, class... Outer> consteval travel travels();

template <class T> inline constexpr travel travels_v = travels<std::remove_cv_t<T>>();

constexpr bool refused(travel how) { return how >= travel::points_into_worker; }

/// `how` if every part can travel, else the first refusal.
consteval travel if_all(travel how, std::initializer_list<travel> parts) {
  for (auto part : parts) {
    if (refused(part)) return part;
  }
  return how;
}

template <class T> consteval bool points_into_worker() {
  return travels_v<T> == travel::points_into_worker;
}

template <class T, class... Outer> consteval travel members_travel() {
  return []<std::size_t... I>(std::index_sequence<I...>) {
    return if_all(travel::as_aggregate, {travels<member_type<I, T>, T, Outer...>()...});
  }(std::make_index_sequence<n_members<T>()>{});
}

template <class T, class... Outer> consteval travel travels() {
  if constexpr ((std::same_as<T, Outer> || ...)) {
    return travel::as_bytes;
  } else if constexpr (has_serializer<T>) {
    return travel::by_serializer;
  } else if constexpr (pointer_like<T> || std::is_reference_v<T>) {
    return travel::points_into_worker;
  } else if constexpr (is_a<T, std::pair> || is_a<T, std::tuple>) {
    return []<class... E>(std::type_identity<std::tuple<E...>>) {
      return if_all(travel::as_tuple, {travels<std::remove_cv_t<E>, T, Outer...>()...});
    }(std::type_identity<decltype(std::tuple_cat(std::declval<T>()))>{});
  } else if constexpr (is_std_array<T>) {
    constexpr bool flat = std::is_trivially_copyable_v<T>;
    return if_all(flat ? travel::as_bytes : travel::as_tuple,
                  {travels<std::remove_cv_t<typename T::value_type>, T, Outer...>()});
  } else if constexpr (is_a<T, std::optional>) {
    return if_all(travel::as_optional,
                  {travels<std::remove_cv_t<typename T::value_type>, T, Outer...>()});
  } else if constexpr (is_a<T, std::variant>) {
    return []<class... E>(std::type_identity<std::variant<E...>>) {
      return if_all(travel::as_variant, {travels<std::remove_cv_t<E>, T, Outer...>()...});
    }(std::type_identity<T>{});
  } else if constexpr (is_default_unique_ptr<T>) {
    using pointee = std::remove_cv_t<typename T::element_type>;
    // A polymorphic pointee would arrive sliced to its static type.
    if constexpr (std::is_polymorphic_v<pointee>)
      return travel::unknown;
    else
      return if_all(travel::as_unique_ptr, {travels<pointee, T, Outer...>()});
  } else if constexpr (path_like<T>) {
    return travel::as_path;
  } else if constexpr (container<T>) {
    return if_all(travel::as_container, {travels<element_of<T>, T, Outer...>()});
  } else if constexpr (std::is_trivially_copyable_v<T> && !std::is_aggregate_v<T>) {
    return travel::as_bytes;
  } else if constexpr (std::is_trivially_copyable_v<T>) {
    return holds_pointer<T>() || holds_const_reference<T>() ? travel::points_into_worker
                                                            : travel::as_bytes;
  } else if constexpr (std::is_aggregate_v<T> && !std::is_array_v<T>) {
    if constexpr (has_base_or_array_member<T>())
      return travel::has_base_or_array_member;
    else if constexpr (holds_const_reference<T>())
      return travel::points_into_worker;
    else
      return members_travel<T, Outer...>();
  } else {
    return travel::unknown;
  }
}

/// A type that a task may return.
template <class T>
concept transferable = std::is_void_v<T> || !refused(travels_v<T>);

/// A result that needs no encoding: it is made in its final slot of shared memory.
template <class T>
concept flat_result = std::is_trivially_copyable_v<T> && !std::is_void_v<T> &&
                      alignof(T) <= page_bytes && (travels_v<T> != travel::by_serializer);

/// Why a result type is refused. Variable templates, so that compilers name the type with the
/// sentence.
template <class T> inline constexpr travel travels_or_void = travels_v<T>;
template <> inline constexpr travel travels_or_void<void> = travel::as_bytes;
template <class T>
inline constexpr bool points_into_worker_memory = travels_or_void<T> == travel::points_into_worker;
template <class T>
inline constexpr bool members_cannot_be_listed =
    travels_or_void<T> == travel::has_base_or_array_member;
template <class T>
inline constexpr bool has_no_way_to_travel = travels_or_void<T> == travel::unknown;

/// Refuses a result type with the sentence that helps.
/// `type` is the result type, or void where it was refused, so that one mistake is one error.
template <class Result, class Returned = Result> struct task_result {
  static_assert(!points_into_worker_memory<Result>,
                "forkmap: this task's result type is, or holds, a pointer, reference, iterator, "
                "string_view or span into the memory of a worker that is gone when the caller "
                "reads it; return the data itself (a value, a std::string, a std::vector)");
  static_assert(!members_cannot_be_listed<Result>,
                "forkmap: this task's result type is, or holds, an aggregate with a base class or "
                "a C array, whose members cannot be listed; use std::array, or specialise "
                "forkmap::serializer for it");
  static_assert(!has_no_way_to_travel<Result>,
                "forkmap: this task's result type is, or holds, a class that forkmap cannot take "
                "apart to bring it back from a worker; specialise forkmap::serializer for it");
  static_assert(std::is_void_v<Result> || std::constructible_from<Result, Returned>,
                "forkmap: this task returns a reference to something that cannot be copied; return "
                "it by value, with std::move");
  using type =
      std::conditional_t<transferable<Result> &&
                             (std::is_void_v<Result> || std::constructible_from<Result, Returned>),
                         Result, void>;
};

}  // namespace forkmap::detail
