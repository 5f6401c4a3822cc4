// The listener of a call whose tasks are sent in chunks while workers run the first of them.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/pool/call_slot.hpp>
#include <forkmap/detail/pool/pool_channel.hpp>
#include <forkmap/detail/pool/pool_supervisor.hpp>
#include <forkmap/detail/pool/send/arguments.hpp>

namespace forkmap::detail {

/// Tells the workers of a call how many of its tasks are sent, and wakes those that sleep at first.
class chunk_sender final : public chunk_listener {
 public:
  chunk_sender(pool_supervisor<> const& supervisor, pool_call& call) noexcept
      : supervisor_(supervisor), call_(call) {}

  bool chunk_done() noexcept override {
    progress().advance();
    if (progress().wants_all()) wake_all_workers();
    return !call_.cancelled();
  }
  void all_sent() noexcept {
    progress().end();
    wake_all_workers();
  }

 private:
  sending progress() const noexcept { return supervisor_.control().sent(call_.place); }
  void wake_all_workers() noexcept {
    call_.woken = call_.plan.n_batches;
    supervisor_.wake(call_.woken);
  }

  pool_supervisor<> const& supervisor_;
  pool_call& call_;
};

}  // namespace forkmap::detail
