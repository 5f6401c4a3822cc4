// The outcome of a task as a value: its result, or its failure.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include <forkmap/error.hpp>

namespace forkmap {

template <class R> class outcome;

namespace detail {

/// A failure and the exception that value() throws for it. Shared, so that outcomes are cheap to
/// move and to copy.
struct failed_task {
  std::shared_ptr<failure const> what;
  std::exception_ptr exception;
};

template <class R> void set_output(outcome<R>& of, std::string output);

}  // namespace detail

/// The outcome of one task: a result of type R, or a failure. It has std::expected's interface.
///
/// Errors: value() throws the exception that the call would have thrown for this task. The
///   behaviour of * and -> on a failure, and of error() on a result, is undefined, as for
///   std::expected.
/// Source: std::expected.
/// Example: `if (!outcome) std::puts(outcome.error().message.c_str());`
template <class R> class outcome {
  static constexpr bool is_void = std::is_void_v<R>;

 public:
  using value_type = R;
  using error_type = failure;
  using stored_type = std::conditional_t<is_void, std::monostate, R>;

  explicit outcome(std::in_place_t, stored_type value = {})
    requires is_void
      : state_(std::in_place_index<0>, value) {}
  explicit outcome(std::in_place_t, stored_type result)
    requires(!is_void)
      : state_(std::in_place_index<0>, std::move(result)) {}
  explicit outcome(detail::failed_task failed)
      : state_(std::in_place_index<1>, std::move(failed)) {}

  /// Whether the task succeeded.
  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  /// The failure. Precondition: !has_value().
  failure const& error() const noexcept { return *std::get_if<1>(&state_)->what; }

  /// What the task has printed to stdout and stderr: the last 64 KiB. Empty unless options::output is
  /// output::capture.
  std::string const& output() const noexcept {
    static std::string const none;
    if (!has_value()) return error().output();
    return output_ != nullptr ? *output_ : none;
  }

  /// The result.
  /// Errors: if the task failed, the exception that the call would have thrown for it.
  void value() const&
    requires is_void
  {
    check();
  }
  stored_type const& value() const&
    requires(!is_void)
  {
    check();
    return **this;
  }
  // clang-format mistakes a ref-qualifier for an operator.
  // clang-format off
  stored_type& value() &
    requires(!is_void)
  {
    check();
    return **this;
  }
  stored_type&& value() &&
    requires(!is_void)
  {
    check();
    return std::move(**this);
  }

  /// The result. Precondition: has_value().
  void operator*() const& noexcept
    requires is_void
  {}
  stored_type& operator*() & noexcept
    requires(!is_void)
  {
    return *std::get_if<0>(&state_);
  }
  stored_type const& operator*() const& noexcept
    requires(!is_void)
  {
    return *std::get_if<0>(&state_);
  }
  stored_type&& operator*() && noexcept
    requires(!is_void)
  {
    return std::move(*std::get_if<0>(&state_));
  }
  stored_type* operator->() noexcept
    requires(!is_void)
  {
    return std::get_if<0>(&state_);
  }
  stored_type const* operator->() const noexcept
    requires(!is_void)
  {
    return std::get_if<0>(&state_);
  }

  /// The result, or `other` if the task failed.
  template <class U>
  stored_type value_or(U&& other) const&
    requires(!is_void)
  {
    return has_value() ? **this : static_cast<stored_type>(std::forward<U>(other));
  }
  template <class U>
  stored_type value_or(U&& other) &&
    requires(!is_void)
  {
    return has_value() ? std::move(**this) : static_cast<stored_type>(std::forward<U>(other));
  }

 private:
  void check() const {
    if (!has_value()) std::rethrow_exception(std::get_if<1>(&state_)->exception);
  }

  template <class T> friend void detail::set_output(outcome<T>& of, std::string output);

  std::variant<stored_type, detail::failed_task> state_;
  std::shared_ptr<std::string const> output_{};
};
// clang-format on

}  // namespace forkmap
