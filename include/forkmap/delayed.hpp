// Delayed function calls: delayed(fn)(args...) is a task.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <concepts>
#include <cstddef>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace forkmap {
namespace detail {

/// The type as which argument I is passed: an rvalue if bit I of Moved is set, else an lvalue.
template <std::size_t Moved, std::size_t I, class Arg>
using passed_as =
    std::conditional_t<((Moved >> I) & 1U) != 0, std::remove_reference_t<Arg>&&, Arg&>;

template <std::size_t Moved, class Fn, class Indices, class... Args>
inline constexpr bool takes_moved = false;
template <std::size_t Moved, class Fn, std::size_t... I, class... Args>
inline constexpr bool takes_moved<Moved, Fn, std::index_sequence<I...>, Args...> =
    std::is_invocable_v<Fn&, passed_as<Moved, I, Args>...>;

/// The arguments that must be moved for fn to accept them, as the lowest bit mask for which fn can
/// be called. -1: fn cannot be called with any.
template <class Fn, class... Args, std::size_t... Masks>
consteval std::ptrdiff_t find_moved(std::index_sequence<Masks...>) {
  std::ptrdiff_t mask = -1;
  (void)((takes_moved<Masks, Fn, std::index_sequence_for<Args...>, Args...>
              ? (mask = static_cast<std::ptrdiff_t>(Masks), true)
              : false) ||
         ...);
  return mask;
}

template <class Fn, class... Args> consteval std::ptrdiff_t arguments_to_move() {
  static_assert(sizeof...(Args) < 32, "forkmap: a delayed call takes at most 31 arguments");
  if constexpr (std::is_invocable_v<Fn&, Args&...>) {
    return 0;
  } else if constexpr (sizeof...(Args) <= 6) {
    return find_moved<Fn, Args...>(std::make_index_sequence<(std::size_t{1} << sizeof...(Args))>{});
  } else {  // too many combinations to try: move all arguments or none
    constexpr auto all = (std::size_t{1} << sizeof...(Args)) - 1;
    return find_moved<Fn, Args...>(std::index_sequence<all>{});
  }
}

}  // namespace detail

/// A call of Fn with stored arguments: the return type of delayed(fn)(args...). Operator() runs it.
template <class Fn, class... Args> class delayed_call {
  static constexpr auto moved = detail::arguments_to_move<Fn, Args...>();
  static constexpr auto moved_const = detail::arguments_to_move<Fn const, Args const...>();

 public:
  using function_type = Fn;
  using arguments_type = std::tuple<Args...>;

  template <class F, class... As>
  explicit constexpr delayed_call(std::in_place_t, F&& fn, As&&... args)
      : fn_(std::forward<F>(fn)), args_(std::forward<As>(args)...) {}

  constexpr decltype(auto) operator()() &
          requires(moved >= 0) {
            return call<moved>(*this);
          } constexpr decltype(auto) operator()() &&
      requires(moved >= 0) {
        return call<moved>(*this);
      } constexpr decltype(auto) operator()() const&
        requires(moved_const == 0)
  {
    return call<0>(*this);
  }

  /// The stored function.
  constexpr Fn const& function() const noexcept { return fn_; }
  /// The stored arguments.
  constexpr arguments_type const& arguments() const noexcept { return args_; }

 private:
  template <std::ptrdiff_t Moved, class Self> static constexpr decltype(auto) call(Self& self) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) -> decltype(auto) {
      return std::invoke(self.fn_,
                         static_cast<detail::passed_as<static_cast<std::size_t>(Moved), I,
                                                       decltype(std::get<I>(self.args_))>>(
                             std::get<I>(self.args_))...);
    }(std::index_sequence_for<Args...>{});
  }

  [[no_unique_address]] Fn fn_;
  [[no_unique_address]] arguments_type args_;
};

/// The return type of delayed(fn). Call it with arguments to get a task.
template <class Fn> class delayed_function {
 public:
  template <class F>
  explicit constexpr delayed_function(std::in_place_t, F&& fn) : fn_(std::forward<F>(fn)) {}

  /// Stores the arguments.
  /// Returns: a delayed_call, which is a task.
  template <class... Args> constexpr auto operator()(Args&&... args) const& {
    return bind(fn_, std::forward<Args>(args)...);
  }
  template <class... Args> constexpr auto operator()(Args&&... args) && {
    return bind(std::move(fn_), std::forward<Args>(args)...);
  }

 private:
  template <class F, class... Args> static constexpr auto bind(F&& fn, Args&&... args) {
    constexpr bool fits = detail::arguments_to_move<Fn, std::unwrap_ref_decay_t<Args>...>() >= 0;
    static_assert(fits,
                  "forkmap: delayed(fn)(args...): fn cannot be called with these arguments; they "
                  "are stored by value and passed as lvalues (use std::cref to pass a reference)");
    if constexpr (fits) {
      return delayed_call<Fn, std::unwrap_ref_decay_t<Args>...>(std::in_place, std::forward<F>(fn),
                                                                std::forward<Args>(args)...);
    }
  }

  Fn fn_;
};

/// Makes a task of a function call: `delayed(fn)(args...)` stores fn and the arguments, and calls
/// fn(args...) when the task runs.
///
/// fn is a function, a callable object or a pointer to a member (std::invoke). An overloaded
/// function needs a lambda around it. Arguments are stored as std::make_tuple stores them: decayed
/// copies, and a T& for a std::reference_wrapper<T>, so that std::cref(vector) converts to a span
/// parameter. fn receives the stored arguments as lvalues. An argument is moved only if fn accepts
/// nothing but an rvalue (a std::unique_ptr by value); such a task can run only once per process.
///
/// Returns: an object whose operator() takes the arguments and returns the task.
/// Errors: arguments that fn does not accept are a compile error.
/// Forking: parallel() neither copies nor serializes the task: a worker uses the caller's stored
///   arguments in the memory that it inherited. A pool sends them.
/// Source: joblib.delayed.
/// Example: `forkmap::parallel(2)(forkmap::delayed(std::sqrt<int>)(2))`
template <class F> constexpr auto delayed(F&& fn) {
  return delayed_function<std::decay_t<F>>(std::in_place, std::forward<F>(fn));
}

}  // namespace forkmap
