// The results of a call in the memory that it shares with its workers, copied and then checked.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include <forkmap/detail/engine/published_ranges.hpp>
#include <forkmap/detail/failure/failures.hpp>
#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/memory/arena_reader.hpp>
#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/messages/inbox.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/published.hpp>
#include <forkmap/detail/worker/failure_log.hpp>

namespace forkmap::detail {

/// The failure of a task whose result is missing or damaged.
inline task_failure lost_task(std::uint64_t index, char const* why) {
  task_failure lost;
  lost.index = index;
  lost.reason = failure::died;
  lost.what.message = "forkmap: the result of task " + std::to_string(index) + ' ' + why +
                      ": a task has overwritten memory that forkmap shares with its workers (a "
                      "stray pointer, an index out of bounds). AddressSanitizer may find the write";
  return lost;
}

class shared_results : public call_results {
  job job_;
  dispatch_plan plan_;

 public:
  /// `call`: the call's number, which is part of its blobs and ranges.
  shared_results(call_memory const& shared, job const& this_job, dispatch_plan const& plan,
                 std::uint64_t call)
      : job_(this_job),
        plan_(plan),
        memory(shared),
        arenas(memory.file(), memory.layout().arenas, plan.n_workers),
        ranges(memory, job_, plan_, call),
        call_number(call) {
    slot_bytes = this_job.forked.bytes;
  }
  ~shared_results() override { std::free(copy_); }

  std::size_t blob_bytes() const noexcept override {
    if (job_.flat) return 0;
    std::uint64_t bytes = 0;
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) bytes += used_arena(k);
    return static_cast<std::size_t>(bytes);
  }
  void taken(std::uint64_t) noexcept override { arenas.release(); }
  std::string output_of(std::uint64_t task) override {
    auto const found = outputs.find(task + job_.first_index);
    return found == outputs.end() ? std::string() : std::move(found->second);
  }
  /// Gives the failures the output of their tasks.
  void add_outputs_to_failures() {
    if (outputs.empty()) return;
    failures.for_each([&](task_failure& failed) {
      auto const found = outputs.find(failed.index);
      if (found != outputs.end()) failed.output = found->second;
    });
  }

  /// The bytes in use in worker k's arena. The value comes from the worker and is only limited, not
  /// checked.
  std::uint64_t used_arena(std::uint32_t k) const noexcept {
    return std::min(memory.state(k).arena_next.load(std::memory_order_acquire),
                    memory.layout().arenas.stride);
  }

  /// Takes over the published results and failures. Precondition: all workers have ended.
  void take_over_all() {
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      ranges.take_over(k);
      ranges.take_over_open(k, false);
      read_failures(arenas, memory.state(k), k, call_number, job_, failures);
    }
  }

  /// Whether worker k had published a result or a failure of `task`. Preconditions: the worker has
  /// ended, and `task` is the last one that it began.
  bool has_ended(std::uint32_t k, std::uint64_t task) {
    if (ranges.has_published(k, task)) return true;
    if (has_failed(arenas, memory.state(k), k, call_number, task)) return true;
    if (job_.flat) return false;  // an inline result is published only by the next state.current
    try {
      auto const result = result_of(task);
      std::uint64_t name = 0;
      memory.copy_own(k, memory.layout().results + result * sizeof name, &name, sizeof name);
      if (name == 0) return false;
      arenas.blob(k, name, {.call = call_number, .number = result}, used_arena(k));
      return true;
    } catch (damaged_results const&) {
      return false;
    }
  }

  /// Whether the task is published and has not failed. Precondition: take_over_all() was called.
  bool has_result(std::uint64_t task) {
    return ranges.find(task) != nullptr &&
           std::none_of(failures.begin(), failures.end(), [&](task_failure const& failed) {
             return failed.index == task + job_.first_index;
           });
  }

  /// Copies the inline results of a range of a running call in which each task has a result.
  /// Returns: null if the digest does not match.
  std::byte* copy_range(known_range const& range) {
    auto const n = range.end - range.begin;
    if (n > range_tasks * 2 + claim_table::entries_per_word * plan_.batch_tasks) return nullptr;
    auto* const copy = room_for_copies(n);
    memory.copy_own(range.worker, memory.layout().results + range.begin * slot_bytes, copy,
                    static_cast<std::size_t>(n * slot_bytes));
    auto const digest = digest_of_results(copy, range.begin, n, slot_bytes);
    return digest + digest_of_call(call_number) == range.digest ? copy : nullptr;
  }

  /// Adds a failure for each task of which nothing is published, and for tasks without results in
  /// ranges with a lost failure. Preconditions: all workers have ended, and `failures` holds all
  /// failures that they have published.
  void note_lost_tasks() {
    if (winner != 0 || (job_.stop_at_failure && !failures.empty())) return;
    failures.sort();
    failure_list lost;
    auto known = failures.begin();
    auto const note = [&](std::uint64_t begin, std::uint64_t end, char const* why) {
      for (auto task = begin; task != end; ++task) {
        auto const index = task + job_.first_index;
        while (known != failures.end() && known->index < index) ++known;
        if (known != failures.end() && known->index == index) continue;
        lost.add(lost_task(index, why));
        if (job_.stop_at_failure) return;
      }
    };
    ranges.for_each_gap(
        [&](std::uint64_t begin, std::uint64_t end) { note(begin, end, "was not published"); });
    if (job_.flat && slot_bytes == 0) {
      known = failures.begin();
      ranges.for_each([&](known_range const& range) {
        if (range.worker != published_ranges::restored && !is_right(range, 0, nullptr))
          note(range.begin, range.end, "was damaged after it was published");
      });
    }
    for (auto const& failed : lost) failures.add(failed);
  }

  call_memory memory;
  arena_reader arenas;
  published_ranges ranges;
  std::uint64_t call_number;
  std::uint64_t restored = 0;  // the number of results from an earlier run
  task_outputs outputs{};      // that were kept

 protected:
  reader read_blob(std::uint64_t result) override {
    auto const k = worker_of(result);
    std::uint64_t name = 0;
    std::memcpy(&name, inline_result(result), sizeof name);
    try {
      return arenas.blob(k, name, {.call = call_number, .number = result}, used_arena(k));
    } catch (damaged_results const&) {
      lose(result);
    }
  }

  /// Copies inline results, or the names of blobs. Blobs have checksums of their own.
  copied_results copy_results(std::uint64_t i) override {
    auto const* const range = ranges.find(task_of_result(i));
    if (range == nullptr) lose(i);
    auto first = result_of(range->begin);
    auto end = result_of(range->end - 1) + 1;
    if (!job_.flat) {
      constexpr std::uint64_t names_at_once = 4096;
      first = i;
      end = std::min(end, i + names_at_once);
    }
    // The digest may cover one more: see known_range.
    bool const one_more = job_.flat && range->was_open && end < job_.n_results;
    auto const n = end - first + (one_more ? 1 : 0);
    make_room(n);
    memory.copy_own(range->worker, memory.layout().results + first * slot_bytes, copy_,
                    static_cast<std::size_t>(n * slot_bytes));
    if (job_.flat && !is_right(*range, first, copy_)) lose(i);
    return {copy_, first, end};
  }

  /// The worker that made the result; published_ranges::restored if it is from an earlier run.
  std::uint32_t worker_of(std::uint64_t result) {
    auto const* const range = ranges.find(task_of_result(result));
    if (range == nullptr) lose(result);
    return range->worker;
  }

  /// A buffer for copies of n results, to be filled by the caller of this function.
  std::byte* room_for_copies(std::uint64_t n) {
    forget_copies();
    make_room(n);
    return copy_;
  }

 private:
  std::uint64_t result_of(std::uint64_t task) const noexcept {
    return job_.whole_batches ? task / plan_.batch_tasks : task;
  }
  std::uint64_t task_of_result(std::uint64_t result) const noexcept {
    return job_.whole_batches ? result * plan_.batch_tasks : result;
  }

  [[noreturn]] void lose(std::uint64_t result) {
    forget_copies();
    throw_lost(
        lost_task(task_of_result(result) + job_.first_index, "was damaged after it was published"));
  }

  void make_room(std::uint64_t n) {
    auto const align = std::max<std::size_t>(job_.forked.align, 64);
    auto const bytes = round_up(static_cast<std::size_t>(n) * slot_bytes, align);
    if (room_ >= bytes) return;
    std::free(std::exchange(copy_, nullptr));
    room_ = 0;
    copy_ = static_cast<std::byte*>(std::aligned_alloc(align, bytes));
    if (copy_ == nullptr) throw std::bad_alloc();
    room_ = bytes;
  }

  /// Whether a range's digest matches its failures and results. `copy`: a copy of the results from
  /// number `first` on.
  bool is_right(known_range const& range, std::uint64_t first, std::byte const* copy) const {
    auto digest = digest_of_call(call_number);
    auto const add_results = [&](std::uint64_t begin, std::uint64_t end) {
      if (copy == nullptr || begin >= end) return;
      digest +=
          digest_of_results(copy + (begin - first) * slot_bytes, begin, end - begin, slot_bytes);
    };
    auto next = result_of(range.begin);
    auto const end = result_of(range.end - 1) + 1;
    for (auto const& failed : failures) {
      if (failed.reason != failure::threw || failed.index == outside_tasks) continue;
      auto const task = failed.index - job_.first_index;
      if (task < range.begin || task >= range.end) continue;
      digest += digest_of_failure(task);
      add_results(next, result_of(task));
      next = result_of(task) + 1;
    }
    add_results(next, end);
    if (digest == range.digest) return true;
    if (!range.was_open) return false;
    // The worker may have ended after it added a result or a failure to the digest, and before its
    // next store of state.current: then the digest covers one more than the range. Or it ended after
    // it published a failure, and before it added that to the digest.
    auto const up_to_end = digest;
    if (copy != nullptr && end < job_.n_results) {
      add_results(end, end + 1);
      if (digest == range.digest) return true;
    }
    return up_to_end + digest_of_failure(range.end) == range.digest ||
           up_to_end - digest_of_failure(range.end - 1) == range.digest;
  }

  std::byte* copy_ = nullptr;
  std::size_t room_ = 0;
};

}  // namespace forkmap::detail
