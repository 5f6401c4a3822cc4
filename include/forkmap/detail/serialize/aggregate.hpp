// Members of an aggregate, counted by the number of initialisers.
//
// Boost.PFR lists the members of an aggregate, but miscounts C arrays, refuses base classes and
// cannot bind bit-fields. The checks here find such aggregates first, and cannot fail to compile.
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

#include <boost/pfr/core.hpp>

namespace forkmap::detail {

template <class T> consteval bool points_into_worker();  // see serialize/traits.hpp
template <class T> consteval bool is_sent_as_bytes();

// The conversion functions below are never called. They have bodies because some compilers warn
// about functions without one.

/// Converts to any member type, but not to the aggregate itself.
template <class Owner> struct anything {
  template <class U>
    requires(!std::same_as<std::remove_cv_t<U>, Owner>)
  operator U() const noexcept {  // NOLINT(google-explicit-constructor): implicit on purpose
    __builtin_unreachable();
  }
};

struct no_pointers {
  template <class U> static consteval bool takes() { return !points_into_worker<U>(); }
};
struct only_bytes {
  template <class U> static consteval bool takes() { return is_sent_as_bytes<U>(); }
};

/// Converts to any member type that Rule takes. The conversion to other types is deleted, not
/// absent: if a member had no conversion, brace elision would initialise that member's own members
/// instead.
template <class Owner, class Rule> struct anything_by_rule {
  template <class U>
    requires(!std::same_as<std::remove_cv_t<U>, Owner> &&
             Rule::template takes<std::remove_cv_t<U>>())
  operator U() const noexcept {  // NOLINT(google-explicit-constructor): implicit on purpose
    __builtin_unreachable();
  }
  template <class U>
    requires(!std::same_as<std::remove_cv_t<U>, Owner> &&
             !Rule::template takes<std::remove_cv_t<U>>())
  constexpr operator U() const noexcept = delete;
};

/// Converts to const lvalues only. It initialises references to const, but no values: for a value,
/// U is deduced without const.
template <class Owner> struct const_lvalue {
  template <class U>
    requires(!std::same_as<std::remove_cv_t<U>, Owner> && std::is_const_v<U>)
  operator U&() const noexcept {  // NOLINT(google-explicit-constructor): implicit on purpose
    __builtin_unreachable();
  }
};

/// A class that initialises only members that accept any type.
struct unknown_to_all {};

/// Whether g++ 12 stops with an internal compiler error at U{} in overload resolution, which
/// Boost.PFR uses to count members. It does if U contains a std::array of objects that are not
/// trivially copyable.
template <class U> consteval bool stops_gcc();

/// Converts to any member type at which g++ 12 does not stop.
template <class Owner> struct anything_for_gcc {
  template <class U>
    requires(!std::same_as<std::remove_cv_t<U>, Owner> && !stops_gcc<std::remove_cv_t<U>>())
  operator U() const noexcept {  // NOLINT(google-explicit-constructor): implicit on purpose
    __builtin_unreachable();
  }
  template <class U>
    requires(!std::same_as<std::remove_cv_t<U>, Owner> && stops_gcc<std::remove_cv_t<U>>())
  constexpr operator U() const noexcept = delete;
};

/// Converts only to base classes of the aggregate.
template <class Owner> struct any_base {
  template <class U>
    requires(!std::same_as<U, Owner> && std::is_base_of_v<U, Owner>)
  operator U() const noexcept {  // NOLINT(google-explicit-constructor): implicit on purpose
    __builtin_unreachable();
  }
};

template <class T, std::size_t> using anything_at = anything<T>;

// Each check initialises the members I... with anything, then the next member with the type under
// test, then the members Rest... with anything.
template <class T, std::size_t... I> consteval bool takes(std::index_sequence<I...>) {
  return requires { T{anything_at<T, I>{}...}; };
}
template <class T, class Rule, std::size_t... I, std::size_t... Rest>
consteval bool takes_by_rule(std::index_sequence<I...>, std::index_sequence<Rest...>) {
  return requires {
    T{anything_at<T, I>{}..., anything_by_rule<T, Rule>{}, anything_at<T, Rest>{}...};
  };
}
template <class T, std::size_t... I, std::size_t... Rest>
consteval bool takes_empty(std::index_sequence<I...>, std::index_sequence<Rest...>) {
  return requires { T{anything_at<T, I>{}..., {}, anything_at<T, Rest>{}...}; };
}

template <class T, std::size_t... I, std::size_t... Rest>
consteval bool takes_for_gcc(std::index_sequence<I...>, std::index_sequence<Rest...>) {
  return requires { T{anything_at<T, I>{}..., anything_for_gcc<T>{}, anything_at<T, Rest>{}...}; };
}

template <class T, class Last, std::size_t... I>
consteval bool takes_last(std::index_sequence<I...>) {
  return requires { T{anything_at<T, I>{}..., Last{}}; };
}

/// The largest number of initialisers that are checked. Of larger aggregates, the first ones are
/// checked.
inline constexpr std::size_t most_initialisers = 64;

/// The number of initialisers of T, with the braces of C arrays elided.
template <class T, std::size_t N = 0> consteval std::size_t count_initialisers() {
  if constexpr (N == most_initialisers)
    return N;
  else if constexpr (takes<T>(std::make_index_sequence<N + 1>{}))
    return count_initialisers<T, N + 1>();
  else if constexpr (N == 0 && takes<T>(std::make_index_sequence<2>{}))
    return count_initialisers<T, 2>();
  else
    return N;
}

/// Whether a member of the aggregate, at any depth, has a type that Rule does not take, as far as
/// initialisation shows it.
template <class T, class Rule> consteval bool breaks() {
  constexpr auto n = count_initialisers<T>();
  return []<std::size_t... I>(std::index_sequence<I...>) {
    return (
        (!takes_by_rule<T, Rule>(std::make_index_sequence<I>{},
                                 std::make_index_sequence<n - I - 1>{}) ||
         // One more initialiser fits only where clang elided braces despite the deleted conversion.
         (n < most_initialisers && takes_by_rule<T, Rule>(std::make_index_sequence<I>{},
                                                          std::make_index_sequence<n - I>{}))) ||
        ...);
  }(std::make_index_sequence<n>{});
}

/// Whether the aggregate has a base class, or a member that is a C array.
template <class T> consteval bool has_base_or_array_member() {
  if constexpr (requires { T{any_base<T>{}}; }) {
    return true;
  } else {
    constexpr auto n = count_initialisers<T>();
    // {} initialises a whole array, so that fewer initialisers fit after {} than after the array's
    // first element.
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (
          (takes_empty<T>(std::make_index_sequence<I>{}, std::index_sequence<>{}) &&
           !takes_empty<T>(std::make_index_sequence<I>{}, std::make_index_sequence<n - I - 1>{})) ||
          ...);
    }(std::make_index_sequence<n>{});
  }
}

/// Whether the aggregate's first member is a reference that is not to const: no initialiser fits, and
/// the aggregate cannot be assigned.
template <class T> consteval bool begins_with_reference() {
  return count_initialisers<T>() == 0 && !std::is_empty_v<T> && !std::is_copy_assignable_v<T>;
}

/// Whether a member of the aggregate is a reference to const, or its first one is another reference.
template <class T> consteval bool holds_reference() {
  return begins_with_reference<T>() || []<std::size_t... I>(std::index_sequence<I...>) {
    return ((takes_last<T, const_lvalue<T>>(std::make_index_sequence<I>{}) &&
             !takes_last<T, unknown_to_all>(std::make_index_sequence<I>{})) ||
            ...);
  }(std::make_index_sequence<count_initialisers<T>()>{});
}

template <class U> inline constexpr bool is_array_of_objects = false;
template <class E, std::size_t N>
inline constexpr bool is_array_of_objects<std::array<E, N>> = !std::is_trivially_copyable_v<E>;

template <class U> consteval bool stops_gcc() {
  if constexpr (is_array_of_objects<U>) {
    return true;
  } else if constexpr (!std::is_class_v<U> || !std::is_aggregate_v<U> ||
                       std::is_trivially_copyable_v<U>) {
    return false;
  } else {
    constexpr auto n = count_initialisers<U>();
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (
          !takes_for_gcc<U>(std::make_index_sequence<I>{}, std::make_index_sequence<n - I - 1>{}) ||
          ...);
    }(std::make_index_sequence<n>{});
  }
}

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
inline constexpr bool is_stoppable_gcc = true;
#else
inline constexpr bool is_stoppable_gcc = false;
#endif

/// The number of members of an aggregate without base classes and C arrays.
template <class T> consteval std::size_t n_members() {
  if constexpr (is_stoppable_gcc && stops_gcc<T>())
    return count_initialisers<T>();
  else
    return boost::pfr::tuple_size_v<T>;
}

/// Member I of an aggregate without base classes and C arrays. It must not be a bit-field, because
/// no reference can be bound to one.
template <std::size_t I, class T> constexpr auto& member_of(T& value) noexcept {
  using owner = std::remove_const_t<T>;
  if constexpr (is_stoppable_gcc && stops_gcc<owner>()) {
    namespace pfr = boost::pfr::detail;
    return pfr::sequence_tuple::get<I>(
        pfr::tie_as_tuple(value, pfr::size_t_<n_members<owner>()>{}));
  } else {
    return boost::pfr::get<I>(value);
  }
}

template <std::size_t I, class T> struct member {
  using type = boost::pfr::tuple_element_t<I, T>;
};
template <std::size_t I, class T>
  requires(is_stoppable_gcc && stops_gcc<T>())
struct member<I, T> {
  // The object is not const: a reference to a const bit-field would be bound to a copy.
  using type = std::remove_reference_t<decltype(member_of<I>(std::declval<T&>()))>;
};
/// The type of member I, without const.
template <std::size_t I, class T> using member_type = std::remove_cv_t<typename member<I, T>::type>;

}  // namespace forkmap::detail
