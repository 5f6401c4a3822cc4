// How many results of a call are there while it runs, from the first task on without a gap.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include <forkmap/plan/dispatch.hpp>
#include <forkmap/plan/ledger.hpp>

namespace forkmap::detail {

/// The caller's view of a call that workers serve, any time before its end. Not of one whose tasks
/// have failed: their results count, too.
class committed_tasks {
 public:
  committed_tasks(dispatch_plan const& plan, ledger lanes, worker_slot const* slots) noexcept
      : plan_(plan), lanes_(lanes), slots_(slots) {}

  /// Never less than before. What it counts has been written: the results can be read.
  std::uint64_t count() noexcept {
    // In this order: whose claims are seen is seen to have begun with them, or to be further on.
    while (next_batch_ != plan_.n_batches && lanes_.owner_mark(next_batch_) != 0) ++next_batch_;
    auto n = plan_.tasks_of(0, next_batch_).end;
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      auto const current = slots_[k].current.load(std::memory_order_acquire);
      if (current != nothing_running) n = std::min(n, current & task_bits);
    }
    return count_ = std::max(count_, n);
  }

 private:
  dispatch_plan plan_;
  ledger lanes_;
  worker_slot const* slots_;
  std::uint64_t next_batch_ = 0;  // nobody has been seen to claim it
  std::uint64_t count_ = 0;
};

}  // namespace forkmap::detail
