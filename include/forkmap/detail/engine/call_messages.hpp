// The messages of a call that forks its workers, as its caller handles them between its other waits.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/messages/inbox.hpp>
#include <forkmap/detail/messages/ring.hpp>
#include <forkmap/detail/os/descriptor.hpp>
#include <forkmap/detail/os/event.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

/// Does nothing if the call has no handler.
class call_messages {
 public:
  /// Errors: std::system_error naming eventfd.
  call_messages(options const& opts, call_memory const& memory, std::uint32_t n_workers) {
    if (!opts.on_message) return;
    event_ = make_event("the messages of a call");
    inbox_.reset(new message_inbox(opts.on_message));
    inbox_->attach(memory, n_workers);
  }

  /// An eventfd that workers raise; -1: none.
  int event() const noexcept { return event_.get(); }

  /// Delivers the messages that are there.
  /// Errors: what the handler throws; std::runtime_error if messages were damaged.
  void deliver() {
    if (inbox_ && inbox_->deliver()) pause_.handled();
  }
  /// Delivers the last messages. Precondition: all workers have ended.
  void deliver_last() {
    if (!inbox_) return;
    inbox_->detach();
    inbox_->deliver_all();
  }
  /// Keeps the messages of a worker that has ended.
  void retire(std::uint32_t k) {
    if (inbox_) inbox_->retire(k);
  }

  /// When the caller, which is about to sleep, must look again: `wake`, or earlier.
  std::int64_t next_look(std::int64_t wake, std::int64_t now) {
    if (!inbox_) return wake;
    drain_event(event_.get());
    if (pause_.brings_more(*inbox_) || !inbox_->may_sleep()) return 0;
    return wake < now + ring_look_again_ns ? wake : now + ring_look_again_ns;
  }

 private:
  descriptor event_{};
  owner<message_inbox> inbox_{};
  message_pause pause_{};
};

}  // namespace forkmap::detail
