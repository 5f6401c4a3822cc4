// The wait for a pool's call whose tasks may send messages.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <forkmap/detail/engine/call_limits.hpp>
#include <forkmap/detail/messages/inbox.hpp>
#include <forkmap/detail/pool/call_slot.hpp>
#include <forkmap/detail/pool/submitted_messages.hpp>

namespace forkmap::detail {

/// Waits until a call is over. Delivers its messages, and meanwhile those of submitted tasks.
/// `calls`: the pool_calls of its pool.
/// Errors: what the handler throws; std::runtime_error if messages were damaged. The call has then
///   ended.
template <class Calls>
void wait_and_deliver(Calls& calls, pool_call& call, submitted_messages& others) {
  auto& inbox = *call.inbox;
  auto& bell = calls.bell_of(call);
  bool is_over = false;
  try {
    for (bool awake = true; !is_over;) {
      auto const seen = bell.event.load();
      inbox.deliver();
      others.deliver();
      is_over = calls.is_over(call);
      if (is_over || (awake && calls.is_over_soon(call, seen))) continue;
      awake = false;
      bool const may_sleep = inbox.may_sleep();
      if (!others.may_sleep() || !may_sleep) continue;
      constexpr std::int64_t look_again_ns = 10'000'000;
      if (message_inbox::keep_outer())
        calls.sleep(bell, seen, look_again_ns);
      else
        calls.sleep(bell, seen);
      // A task may have overwritten the memory that wakes this thread.
      if (bell.event.load() == seen) calls.look_again(call);
    }
    inbox.detach();
    inbox.deliver_all();
    call.outputs = inbox.take_outputs();
  } catch (...) {
    if (!is_over) {
      calls.end(call, ended_call::by_cancel);
      calls.wait_for(call);
    }
    throw;
  }
}

}  // namespace forkmap::detail
