// Search of a pool's worker for the call to serve next.
// SPDX-License-Identifier: MIT
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>

#include <forkmap/detail/pool/pool_channel.hpp>
#include <forkmap/detail/pool/pool_control.hpp>

namespace forkmap::detail {

class call_search {
 public:
  explicit call_search(pool_control control) noexcept : control_(control) {}

  /// The call slot of the oldest open call; most_calls if there is none for this worker.
  std::uint32_t oldest() {
    auto c = most_calls;
    auto first = ~std::uint64_t{0};
    auto const open = control_.open_calls().load();
    for (auto bits = open; bits != 0; bits &= bits - 1) {
      auto const slot = static_cast<std::uint32_t>(__builtin_ctzll(bits));
      auto const number = control_.call(slot).number.load(std::memory_order_relaxed);
      // No call is in the slot: it is over, or a task has overwritten the bits.
      constexpr int many_looks = 1000;
      if (number == 0 && ++looks_in_vain_ > many_looks) control_.close(slot);
      if (number == 0 || number >= first || number == done_with_) continue;
      first = number;
      c = slot;
    }
    if (c == most_calls) {
      if (open != 0) ::sched_yield();
    } else {
      looks_in_vain_ = 0;
    }
    return c;
  }

  /// Whether there may be a call for this worker.
  bool has_any() const noexcept {
    auto open = control_.open_calls().load();
    if (done_with_ != 0 && control_.call(slot_).number.load() == done_with_)
      open &= ~(std::uint64_t{1} << slot_);
    return open != 0;
  }

  /// Leaves out a call in slot c that stays open for other workers.
  void leave_out(std::uint32_t c, std::uint64_t number) noexcept {
    slot_ = c;
    done_with_ = number;
  }

 private:
  pool_control control_;
  int looks_in_vain_ = 0;
  std::uint32_t slot_ = 0;
  std::uint64_t done_with_ = 0;  // the number of a call; 0: none
};

}  // namespace forkmap::detail
