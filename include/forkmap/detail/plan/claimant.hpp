// A worker's claims of batches. The protocol is in plan/claim_table.hpp.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/dispatch.hpp>

namespace forkmap::detail {

/// The worker's side of the protocol. Range: published_range_writer, or a replacement for it in
/// tests.
template <class Range> class claimant {
 public:
  claimant(dispatch_plan const& plan, claim_table claims, claim_hint* hints, worker_state& state,
           std::uint32_t me, Range& range) noexcept
      : plan_(plan),
        claims_(claims),
        hints_(hints),
        hint_(hints[me]),
        state_(state),
        me_(me),
        range_(range) {}

  /// Claims up to `most` batches. Precondition: most <= claim_table::entries_per_word.
  /// Returns: false if every batch is claimed.
  bool next(task_range& tasks, std::uint64_t most) {
    do {
      if (claim_in_region(tasks, most)) return true;
      // If a task keeps overwriting the claim table, the loop must still end.
      if (n_claimed_ >= plan_.n_batches) return false;
    } while (steal() || sweep());
    return false;
  }

 private:
  bool claim_in_region(task_range& tasks, std::uint64_t most) {
    constexpr auto relaxed = std::memory_order_relaxed;
    auto at = hint_.cursor.load(relaxed);
    for (;;) {
      // Read again each time: another worker may have lowered it. It may also have been
      // overwritten.
      auto const end = std::min(hint_.region_end.load(relaxed), plan_.n_batches);
      if (at >= end || n_claimed_ >= plan_.n_batches) break;
      if (plan_.order != nullptr) {
        if (claim_one(tasks, at++)) return true;
        continue;
      }
      auto& word = claims_.word(at);
      auto seen = word.load(relaxed);
      auto const word_end =
          std::min(end, (at / claim_table::entries_per_word + 1) * claim_table::entries_per_word);
      while (at < word_end && claim_table::entry_in(seen, at) != 0) ++at;
      if (at == word_end) continue;
      auto last = at;
      auto claimed = seen;
      while (last < word_end && last - at < most && claim_table::entry_in(seen, last) == 0) {
        claimed |= std::uint64_t{me_ + 1U} << (last % claim_table::entries_per_word * 16);
        ++last;
      }
      tasks = plan_.tasks_of(at, last);
      range_.moves_to(tasks.begin);
      // In this order: after a crash, the old current with the new end would give the replacement
      // batches of other workers.
      state_.current.store(as_current(tasks.begin) | not_begun, std::memory_order_release);
      state_.batch_end.store(tasks.end, std::memory_order_release);
      if (word.compare_exchange_strong(seen, claimed, std::memory_order_acq_rel, relaxed)) {
        hint_.cursor.store(last, relaxed);
        n_claimed_ += last - at;
        // Release: a reader that sees all batches claimed sees that this worker is in the call.
        hint_.claimed.store(hint_.claimed.load(relaxed) + (last - at), std::memory_order_release);
        return true;
      }
    }
    range_.close();
    state_.current.store(nothing_running, std::memory_order_release);
    hint_.cursor.store(at, relaxed);
    return false;
  }

  /// Claims the batch at a position of plan_.order.
  /// Returns: false if it is claimed already.
  bool claim_one(task_range& tasks, std::uint64_t position) {
    constexpr auto relaxed = std::memory_order_relaxed;
    auto const batch = plan_.batch_at(position);
    if (batch >= plan_.n_batches) return false;  // the order has been overwritten
    auto& word = claims_.word(batch);
    auto seen = word.load(relaxed);
    while (claim_table::entry_in(seen, batch) == 0) {
      tasks = plan_.tasks_of(batch, batch + 1);
      range_.moves_to(tasks.begin);
      // In this order, as in claim_in_region().
      state_.current.store(as_current(tasks.begin) | not_begun, std::memory_order_release);
      state_.batch_end.store(tasks.end, std::memory_order_release);
      auto const mine = std::uint64_t{me_ + 1U} << (batch % claim_table::entries_per_word * 16);
      if (!word.compare_exchange_strong(seen, seen | mine, std::memory_order_acq_rel, relaxed))
        continue;
      hint_.cursor.store(position + 1, relaxed);
      ++n_claimed_;
      hint_.claimed.store(hint_.claimed.load(relaxed) + 1, std::memory_order_release);
      return true;
    }
    return false;
  }

  /// Takes the upper half of the longest region that another worker has left.
  bool steal() {
    constexpr auto relaxed = std::memory_order_relaxed;
    if (plan_.in_order || plan_.one_each) return false;  // one region for all, or for each its own
    for (;;) {
      claim_hint* victim = nullptr;
      std::uint64_t from = 0, end = 0;
      for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
        auto const region_end = hints_[k].region_end.load(relaxed);
        auto const cursor = hints_[k].cursor.load(relaxed);
        if (k != me_ && cursor < region_end && region_end <= plan_.n_batches &&
            region_end - cursor > end - from) {
          victim = &hints_[k];
          from = cursor;
          end = region_end;
        }
      }
      if (victim == nullptr) return false;
      auto const middle = from + (end - from) / 2;
      // The compare-and-swap keeps two workers from stealing the same half. The half itself may be
      // out of date: it is only a hint.
      auto expected = end;
      if (victim->region_end.compare_exchange_strong(expected, middle, relaxed, relaxed)) {
        hint_.cursor.store(middle, relaxed);
        hint_.region_end.store(end, relaxed);
        return true;
      }
    }
  }

  /// Finds a free batch anywhere in the table.
  bool sweep() {
    constexpr auto relaxed = std::memory_order_relaxed;
    if (plan_.one_each) return false;
    std::uint64_t claimed = 0;
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) claimed += hints_[k].claimed.load(relaxed);
    if (claimed == plan_.n_batches) return false;
    for (std::uint64_t at = 0; at != plan_.n_batches; ++at) {
      auto const batch = plan_.batch_at(at);
      if (batch >= plan_.n_batches) continue;
      if (claim_table::entry_in(claims_.word(batch).load(relaxed), batch) == 0) {
        hint_.cursor.store(at, relaxed);
        hint_.region_end.store(std::min(plan_.n_batches, at + claim_table::entries_per_word),
                               relaxed);
        return true;
      }
    }
    return false;
  }

  dispatch_plan plan_;
  claim_table claims_;
  claim_hint* hints_;
  claim_hint& hint_;
  worker_state& state_;
  std::uint32_t me_;
  Range& range_;
  std::uint64_t n_claimed_ = 0;
};

}  // namespace forkmap::detail
