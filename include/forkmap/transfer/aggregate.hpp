// What can be seen of an aggregate from outside, by asking what initialises it.
//
// Boost.PFR lists the members of an aggregate, but miscounts C arrays, refuses base classes and
// cannot bind bit-fields; so these questions are asked first, in ways that cannot fail to compile.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

#include <boost/pfr/core.hpp>

namespace forkmap::detail {

template <class T> consteval bool points_into_worker();  // see transfer/traits.hpp

// Their conversions are never run, but some compilers warn of what has no body.

/// Converts to any member type, but not to the aggregate itself.
template <class Owner> struct anything {
  template <class U>
    requires(!std::same_as<std::remove_cv_t<U>, Owner>)
  operator U() const noexcept {  // NOLINT(google-explicit-constructor): that is its use
    __builtin_unreachable();
  }
};

/// The same, but forbidden for types that hold a pointer. Forbidden, not absent: braces are left
/// out around the members of a member that nothing converts to, and then they are asked instead of
/// it.
template <class Owner> struct anything_without_pointer {
  template <class U>
    requires(!std::same_as<std::remove_cv_t<U>, Owner> &&
             !points_into_worker<std::remove_cv_t<U>>())
  operator U() const noexcept {  // NOLINT(google-explicit-constructor): that is its use
    __builtin_unreachable();
  }
  template <class U>
    requires(!std::same_as<std::remove_cv_t<U>, Owner> && points_into_worker<std::remove_cv_t<U>>())
  constexpr operator U() const noexcept = delete;
};

/// Converts to what a reference to const binds to, and to no value: for a value the type asked for has
/// no const.
template <class Owner> struct const_lvalue {
  template <class U>
    requires(!std::same_as<std::remove_cv_t<U>, Owner> && std::is_const_v<U>)
  operator U&() const noexcept {  // NOLINT(google-explicit-constructor): that is its use
    __builtin_unreachable();
  }
};

/// Only what takes everything takes it.
struct unknown_to_all {};

/// Whether g++ 12 stops with an internal error when it makes a U{} while it looks for an overload, as
/// Boost.PFR has it do to count members: where a std::array of class objects is in it.
template <class U> consteval bool stops_gcc();

/// Converts to any member type but those.
template <class Owner> struct anything_for_gcc {
  template <class U>
    requires(!std::same_as<std::remove_cv_t<U>, Owner> && !stops_gcc<std::remove_cv_t<U>>())
  operator U() const noexcept {  // NOLINT(google-explicit-constructor): that is its use
    __builtin_unreachable();
  }
  template <class U>
    requires(!std::same_as<std::remove_cv_t<U>, Owner> && stops_gcc<std::remove_cv_t<U>>())
  constexpr operator U() const noexcept = delete;
};

/// Converts to nothing but base classes of the aggregate.
template <class Owner> struct any_base {
  template <class U>
    requires(!std::same_as<U, Owner> && std::is_base_of_v<U, Owner>)
  operator U() const noexcept {  // NOLINT(google-explicit-constructor): that is its use
    __builtin_unreachable();
  }
};

template <class T, std::size_t> using anything_at = anything<T>;

// In these, members before position I are initialised by anything, then comes what is asked.
template <class T, std::size_t... I> consteval bool takes(std::index_sequence<I...>) {
  return requires { T{anything_at<T, I>{}...}; };
}
template <class T, std::size_t... I, std::size_t... Rest>
consteval bool takes_without_pointer(std::index_sequence<I...>, std::index_sequence<Rest...>) {
  return requires {
    T{anything_at<T, I>{}..., anything_without_pointer<T>{}, anything_at<T, Rest>{}...};
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

/// Initialisers looked at: an aggregate of more is judged by its first ones.
inline constexpr std::size_t most_initialisers = 64;

/// How many initialisers T takes, with the braces of C arrays left out.
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

/// Whether a member of the aggregate, at any depth, is a pointer as far as can be seen.
template <class T> consteval bool holds_pointer() {
  constexpr auto n = count_initialisers<T>();
  return []<std::size_t... I>(std::index_sequence<I...>) {
    return (
        (!takes_without_pointer<T>(std::make_index_sequence<I>{},
                                   std::make_index_sequence<n - I - 1>{}) ||
         // One initialiser more fits only where clang left out the braces all the same.
         (n < most_initialisers && takes_without_pointer<T>(std::make_index_sequence<I>{},
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
    // {} initialises a whole array, so that fewer initialisers fit behind it than behind its first
    // element.
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (
          (takes_empty<T>(std::make_index_sequence<I>{}, std::index_sequence<>{}) &&
           !takes_empty<T>(std::make_index_sequence<I>{}, std::make_index_sequence<n - I - 1>{})) ||
          ...);
    }(std::make_index_sequence<n>{});
  }
}

/// Whether a member of the aggregate is a reference to const.
template <class T> consteval bool holds_const_reference() {
  return []<std::size_t... I>(std::index_sequence<I...>) {
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

/// How many members an aggregate without bases and C arrays has.
template <class T> consteval std::size_t n_members() {
  if constexpr (is_stoppable_gcc && stops_gcc<T>())
    return count_initialisers<T>();
  else
    return boost::pfr::tuple_size_v<T>;
}

/// One of them, not a bit-field: no reference could be to one.
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
  // Not of a const object, whose bit-fields would be copied into what the reference is to.
  using type = std::remove_reference_t<decltype(member_of<I>(std::declval<T&>()))>;
};
/// Its type, without const.
template <std::size_t I, class T> using member_type = std::remove_cv_t<typename member<I, T>::type>;

}  // namespace forkmap::detail
