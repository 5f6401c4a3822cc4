// The published ranges of a call, copied into the caller's own memory and checked.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/memory/per_worker.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/dispatch.hpp>
#include <forkmap/detail/plan/published.hpp>

namespace forkmap::detail {

/// A range of tasks whose results are in one worker's own part of the shared memory.
struct known_range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  /// The digest that the results and failures must have. If the range was open when its worker
  /// crashed, the digest may cover one task more; the range is then also accepted with that task.
  std::uint64_t digest = 0;
  std::uint32_t worker = 0;
  bool was_open = false;
};

/// The closed ranges of a running call, from the first task on and without gaps.
class ranges_so_far {
 public:
  ranges_so_far(call_memory const& memory, dispatch_plan const& plan, std::uint64_t call)
      : memory_(memory), plan_(plan), call_(call), looked_at_(plan.n_workers) {}

  /// Finds the range that begins with `task`. Returns: false if it is not published yet.
  bool next(std::uint64_t task, known_range& found) {
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      auto const n = std::min(memory_.state(k).n_ranges.load(std::memory_order_acquire),
                              memory_.layout().log_capacity);
      for (auto& at = looked_at_[k]; at < n; ++at) {
        published_range range{};
        memory_.copy_own(k, memory_.layout().log + at * sizeof range, &range, sizeof range);
        if (range.seal != range.right_seal(call_) || range.begin > task) break;
        if (range.begin != task || range.end <= task || range.end > plan_.n_tasks) continue;
        found = {.begin = range.begin,
                 .end = range.end,
                 .digest = range.digest,
                 .worker = k,
                 .was_open = false};
        ++at;
        return true;
      }
    }
    return false;
  }

 private:
  call_memory const& memory_;
  dispatch_plan const& plan_;
  std::uint64_t call_;
  per_worker<std::uint64_t> looked_at_;
};

class published_ranges {
 public:
  /// The worker number of results from the journal of an earlier run.
  static constexpr std::uint32_t restored = ~std::uint32_t{0};

  published_ranges(call_memory const& memory, job const& this_job, dispatch_plan const& plan,
                   std::uint64_t call) noexcept
      : memory_(memory), job_(this_job), plan_(plan), call_(call), taken_(plan.n_workers) {}

  /// Takes over the ranges that worker k has closed since the last call.
  void take_over(std::uint32_t k) {
    auto const n = std::min(memory_.state(k).n_ranges.load(std::memory_order_acquire),
                            memory_.layout().log_capacity);
    for (auto& i = taken_[k]; i < n; ++i) {
      published_range range{};
      memory_.copy_own(k, memory_.layout().log + i * sizeof range, &range, sizeof range);
      if (range.seal != range.right_seal(call_)) continue;
      add(k, range.begin, range.end, range.digest, false);
    }
  }
  /// Worker k's replacement writes its log from the start again.
  void starts_anew(std::uint32_t k) noexcept { taken_[k] = 0; }

  /// Whether a task is in two closed ranges, of two workers or of one. Then the claim table has
  /// been overwritten, and tasks could run without end.
  bool contradict() {
    sort();
    std::uint64_t next = 0;
    for (auto const& range : ranges_) {
      if (range.was_open) continue;
      if (range.begin < next) return true;
      next = range.end;
    }
    return false;
  }
  /// Takes over the open range of worker k. Preconditions: the worker has ended, and take_over(k)
  /// has been called since. `has_ended`: whether its last task had ended.
  void take_over_open(std::uint32_t k, bool has_ended) {
    auto& state = memory_.state(k);
    auto const current = state.current.load(std::memory_order_acquire);
    if (current == nothing_running) return;
    auto const end = task_of(current) + (has_ended ? 1 : 0);
    add(k, state.range_begin.load(std::memory_order_relaxed), end,
        state.digest.load(std::memory_order_relaxed), true);
  }
  /// Adds the results of tasks [begin, end) from an earlier run.
  void add_restored(std::uint64_t begin, std::uint64_t end) {
    ranges_.push_back(
        {.begin = begin, .end = end, .digest = 0, .worker = restored, .was_open = false});
    is_sorted_ = false;
  }

  /// Whether the task is in a closed range of worker k.
  bool has_published(std::uint32_t k, std::uint64_t task) const noexcept {
    for (auto const& range : ranges_) {
      if (range.worker == k && !range.was_open && has(range, task)) return true;
    }
    return false;
  }

  /// The range that holds the task; null if the task is not published.
  known_range const* find(std::uint64_t task) {
    sort();
    if (last_ < ranges_.size() && has(ranges_[last_], task)) return &ranges_[last_];
    auto const after =
        std::upper_bound(ranges_.begin(), ranges_.end(), task,
                         [](std::uint64_t t, known_range const& range) { return t < range.begin; });
    // Ranges overlap if a worker crashed between closing a range and opening the next.
    for (auto range = after; range != ranges_.begin();) {
      --range;
      if (has(*range, task)) {
        last_ = static_cast<std::size_t>(range - ranges_.begin());
        return &*range;
      }
      if (task - range->begin > longest_) break;
    }
    return nullptr;
  }

  template <class Visit> void for_each(Visit const& visit) {
    sort();
    for (auto const& range : ranges_) visit(range);
  }
  /// Calls gap(begin, end) for each group of adjacent tasks that are not published.
  template <class Gap> void for_each_gap(Gap const& gap) {
    sort();
    std::uint64_t next = 0;
    for (auto const& range : ranges_) {
      if (range.begin > next) gap(next, range.begin);
      next = std::max(next, range.end);
    }
    if (next < plan_.n_tasks) gap(next, plan_.n_tasks);
  }

 private:
  static bool has(known_range const& range, std::uint64_t task) noexcept {
    return range.begin <= task && task < range.end;
  }

  /// Adds a range if it is plausible.
  void add(std::uint32_t k, std::uint64_t begin, std::uint64_t end, std::uint64_t digest,
           bool was_open) {
    if (job_.whole_batches)
      end = end == plan_.n_tasks ? end : end / plan_.batch_tasks * plan_.batch_tasks;
    if (begin >= end || end > plan_.n_tasks) return;
    if (job_.whole_batches && begin % plan_.batch_tasks != 0) return;
    ranges_.push_back(
        {.begin = begin, .end = end, .digest = digest, .worker = k, .was_open = was_open});
    is_sorted_ = false;
  }

  void sort() {
    if (is_sorted_) return;
    std::sort(ranges_.begin(), ranges_.end(), [](known_range const& a, known_range const& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.was_open && !b.was_open;
    });
    longest_ = 0;
    for (auto const& range : ranges_) longest_ = std::max(longest_, range.end - range.begin);
    last_ = 0;
    is_sorted_ = true;
  }

  call_memory const& memory_;
  job const& job_;
  dispatch_plan const& plan_;
  std::uint64_t call_;
  per_worker<std::uint64_t> taken_;  // entries taken over from each worker's log
  std::vector<known_range> ranges_{};
  std::uint64_t longest_ = 0;
  std::size_t last_ = 0;  // the range that find() found last
  bool is_sorted_ = true;
};

}  // namespace forkmap::detail
