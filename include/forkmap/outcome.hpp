// One task's fate as a value: its result, or its failure.
#pragma once

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>
#include <variant>

#include <forkmap/error.hpp>

namespace forkmap {
namespace detail {

/// A failure and what value() throws for it. Shared: outcomes are cheap to move and to copy.
struct failed_task {
  std::shared_ptr<failure const> what;
  std::exception_ptr exception;
};

}  // namespace detail

/// What became of one task, with std::expected's interface: a result of type R or a failure.
///
/// Errors: value() throws what the call itself would have thrown for this task. * and -> of a
///   failed outcome and error() of a successful one are undefined, as with std::expected.
template <class R> class outcome {
  static constexpr bool is_void = std::is_void_v<R>;

 public:
  using value_type = R;
  using error_type = failure;
  using stored_type = std::conditional_t<is_void, std::monostate, R>;

  explicit outcome(std::in_place_t, stored_type value = {})
    requires is_void
      : state_(std::in_place_index<0>, value) {}
  explicit outcome(std::in_place_t, stored_type value)
    requires(!is_void)
      : state_(std::in_place_index<0>, std::move(value)) {}
  explicit outcome(detail::failed_task failed)
      : state_(std::in_place_index<1>, std::move(failed)) {}

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  failure const& error() const noexcept { return *std::get_if<1>(&state_)->what; }

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
  // clang-format takes the & behind a function's parameters for an operator.
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

  std::variant<stored_type, detail::failed_task> state_;
};
// clang-format on

}  // namespace forkmap
