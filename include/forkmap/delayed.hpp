// A call, not yet run: delayed(fn)(args...) is a task.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace forkmap {
namespace detail {

/// The type that argument number I is passed on as: an rvalue where bit I of Moved is set.
template <std::size_t Moved, std::size_t I, class Arg>
using passed_as =
    std::conditional_t<((Moved >> I) & 1U) != 0, std::remove_reference_t<Arg>&&, Arg&>;

template <std::size_t Moved, class Fn, class Indices, class... Args>
inline constexpr bool takes_moved = false;
template <std::size_t Moved, class Fn, std::size_t... I, class... Args>
inline constexpr bool takes_moved<Moved, Fn, std::index_sequence<I...>, Args...> =
    std::is_invocable_v<Fn&, passed_as<Moved, I, Args>...>;

/// The lowest set of arguments, as a bit mask, that have to be moved for fn to take them. -1: none.
template <class Fn, class... Args, std::size_t... Masks>
consteval std::ptrdiff_t find_moved(std::index_sequence<Masks...>) {
  std::ptrdiff_t found = -1;
  (void)((takes_moved<Masks, Fn, std::index_sequence_for<Args...>, Args...>
              ? (found = static_cast<std::ptrdiff_t>(Masks), true)
              : false) ||
         ...);
  return found;
}

template <class Fn, class... Args> consteval std::ptrdiff_t arguments_to_move() {
  static_assert(sizeof...(Args) < 32, "forkmap: a delayed call takes at most 31 arguments");
  if constexpr (std::is_invocable_v<Fn&, Args&...>) {
    return 0;
  } else if constexpr (sizeof...(Args) <= 6) {
    return find_moved<Fn, Args...>(std::make_index_sequence<(std::size_t{1} << sizeof...(Args))>{});
  } else {  // too many combinations to try them all: everything is moved, or nothing
    constexpr auto all = (std::size_t{1} << sizeof...(Args)) - 1;
    return find_moved<Fn, Args...>(std::index_sequence<all>{});
  }
}

}  // namespace detail

/// A call of Fn with stored arguments: what delayed(fn)(args...) returns. Invoke it with ().
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

  constexpr Fn const& function() const noexcept { return fn_; }
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

/// What delayed(fn) returns: call it with the arguments to get a task.
template <class Fn> class delayed_function {
 public:
  template <class F>
  explicit constexpr delayed_function(std::in_place_t, F&& fn) : fn_(std::forward<F>(fn)) {}

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
                  "are stored by value and passed as lvalues (std::cref passes a reference on)");
    if constexpr (fits) {
      return delayed_call<Fn, std::unwrap_ref_decay_t<Args>...>(std::in_place, std::forward<F>(fn),
                                                                std::forward<Args>(args)...);
    }
  }

  Fn fn_;
};

/// Captures a function, to be called later: `delayed(fn)(args...)` is a task for a map.
///
/// fn and the arguments are stored as std::make_tuple stores them: decayed copies, and a T& for a
/// std::reference_wrapper<T>, so that std::cref(vector) converts to a span parameter. fn may be a
/// function, a callable object or a pointer to a member (std::invoke). The task passes lvalues of
/// what it stores, and moves only those arguments that nothing but an rvalue fits (a unique_ptr by
/// value): such a task can be run once per process.
///
/// Errors: arguments that do not fit fn are one sentence at compile time. An overloaded name needs
/// a
///   lambda around it.
/// Forking: nothing is copied or serialised for a fork-join map: the worker calls the caller's
///   stored arguments in memory it inherited.
/// Source: joblib.delayed.
/// Example: `forkmap::parallel(2)(forkmap::delayed(std::sqrt<int>)(2))`.
template <class F> constexpr auto delayed(F&& fn) {
  return delayed_function<std::decay_t<F>>(std::in_place, std::forward<F>(fn));
}

}  // namespace forkmap
