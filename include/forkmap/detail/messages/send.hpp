// this_task::send.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>

#include <forkmap/detail/demangled.hpp>
#include <forkmap/detail/serialize/codec.hpp>
#include <forkmap/detail/serialize/traits.hpp>
#include <forkmap/message_handler.hpp>
#include <forkmap/this_task.hpp>

namespace forkmap::detail {

[[noreturn]] inline void refuse_message(std::type_info const& sent, std::type_info const& taken) {
  throw std::logic_error("forkmap: this_task::send: the message is a " + demangled(sent.name()) +
                         ", but the call's options::on_message takes a " + demangled(taken.name()));
}

/// Sends a message of task `index`.
template <class M>
void send_message(message_channel& channel, std::size_t index, M const& message) {
  if (channel.type() != typeid(M)) refuse_message(typeid(M), channel.type());
  auto* const out = channel.begin();
  if (out == nullptr) return channel.handle(index, &message);
  try {
    encode(*out, message);
  } catch (...) {
    channel.abandon();
    throw;
  }
  channel.end(index);
}

}  // namespace forkmap::detail

template <class M> void forkmap::this_task::send(M const& message) {
  using sent = detail::sent_message<M>;
  static_assert(!detail::refused(detail::serialization_of<sent>),
                "forkmap: this_task::send: a message of this type cannot be sent between processes "
                "(it is or has a pointer, a view or private members): send a value, or specialise "
                "forkmap::serializer for it");
  if constexpr (!detail::refused(detail::serialization_of<sent>)) {
    auto const* const frame = detail::frame_of_thread();
    if (frame == nullptr || frame->messages == nullptr) return;
    auto const index = detail::index_in(*frame);
    if (index < 0) return;
    auto const task = static_cast<std::size_t>(index);
    if constexpr (std::is_same_v<sent, M>)
      detail::send_message(*frame->messages, task, message);
    else
      detail::send_message(*frame->messages, task, sent(std::string_view(message)));
  }
}
