// The handler of messages that tasks send to their caller.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include <forkmap/writer.hpp>

namespace forkmap {
namespace detail {

/// The type in which a message of type M is sent: std::string for all text.
template <class M>
using sent_message =
    std::conditional_t<std::is_convertible_v<M const&, std::string_view>, std::string, M>;

/// The message type of a callable f(task, message), from its one signature.
template <class Signature> struct parameters_of_handler {};
template <class Result, class Task, class M>
struct parameters_of_handler<std::function<Result(Task, M)>> {
  using message = std::remove_cvref_t<M>;
};
template <class F>
concept has_one_signature = requires(F& f) { std::function(f); };
template <class F>
concept handles_messages = has_one_signature<F> && requires(F& f) {
  typename parameters_of_handler<decltype(std::function(f))>::message;
};

class message_channel;

}  // namespace detail

/// The value of options::on_message: a callable f(std::size_t task, M const& message). M, the type of
/// the messages, is deduced from its signature; for messages of several types, use a std::variant.
///
/// Shape: `task` is the index of the task in its range; for a task of pool::submit, its number. M is
///   any type that can be a task's result. Text is one type, std::string, which a handler may take as a
///   std::string_view: valid during the call.
/// Example: `{.on_message = [](std::size_t task, finding const& f) { print(task, f); }}`
class message_handler {
 public:
  message_handler() = default;
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, message_handler>)
  message_handler(F&& handler) {
    using function = std::decay_t<F>;
    static_assert(detail::handles_messages<function>,
                  "forkmap: options::on_message must be a callable f(std::size_t task, M const& "
                  "message) with one signature (no auto parameters, no overloads): M is deduced");
    if constexpr (detail::handles_messages<function>) {
      if constexpr (requires { handler == nullptr; }) {
        if (handler == nullptr) return;
      }
      using taken =
          typename detail::parameters_of_handler<decltype(std::function(handler))>::message;
      using message = detail::sent_message<taken>;
      handler_ = std::make_shared<function>(std::forward<F>(handler));
      type_ = &typeid(message);
      call_ = [](void* erased, std::size_t task, reader& bytes) {
        auto value = bytes.get<message>();
        std::invoke(*static_cast<function*>(erased), task, static_cast<taken&&>(value));
      };
      call_here_ = [](void* erased, std::size_t task, void const* sent) {
        auto const& value = *static_cast<message const*>(sent);
        if constexpr (std::is_invocable_v<function&, std::size_t, message const&>) {
          std::invoke(*static_cast<function*>(erased), task, value);
        } else {
          std::invoke(*static_cast<function*>(erased), task, message(value));
        }
      };
    }
  }

  explicit operator bool() const noexcept { return type_ != nullptr; }

 private:
  friend class detail::message_channel;

  std::shared_ptr<void> handler_{};
  std::type_info const* type_ = nullptr;
  void (*call_)(void*, std::size_t, reader&) = nullptr;
  void (*call_here_)(void*, std::size_t, void const*) = nullptr;
};

namespace detail {

/// The way of a task's messages to the handler: through shared memory, or to a handler in the same
/// process.
class message_channel {
 public:
  explicit message_channel(message_handler const& handler) noexcept : handler_(handler) {}
  message_channel(message_channel const&) = delete;
  message_channel& operator=(message_channel const&) = delete;

  /// The type of the messages that the handler takes.
  std::type_info const& type() const noexcept { return *handler_.type_; }

  /// Begins a message. end() or abandon() must follow.
  /// Returns: the writer for its bytes; null if the handler is in this process.
  virtual writer* begin() = 0;
  /// Sends the message that was begun.
  virtual void end(std::size_t task) = 0;
  virtual void abandon() noexcept = 0;
  /// Calls the handler in this process with a message of type().
  virtual void handle(std::size_t task, void const* message) = 0;

  /// Calls the handler with the bytes of a message.
  static void call(message_handler const& handler, std::size_t task, reader& bytes) {
    handler.call_(handler.handler_.get(), task, bytes);
  }

 protected:
  ~message_channel() = default;
  void call_here(std::size_t task, void const* message) const {
    handler_.call_here_(handler_.handler_.get(), task, message);
  }

 private:
  message_handler const& handler_;
};

}  // namespace detail
}  // namespace forkmap
