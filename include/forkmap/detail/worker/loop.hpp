// The task loop of one forked worker: publishes results and failures in shared memory.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include <forkmap/detail/failure/failures.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/journal/journal.hpp>
#include <forkmap/detail/memory/arena.hpp>
#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/published.hpp>
#include <forkmap/detail/worker/failure_log.hpp>
#include <forkmap/detail/worker/setup.hpp>
#include <forkmap/detail/worker/task_output.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

/// Waits for the caller to kill this worker. Exits after 20 seconds if it does not: the state that
/// says so has then been overwritten.
[[noreturn]] inline void wait_to_be_killed() noexcept {
  timespec const patience{.tv_sec = 20, .tv_nsec = 0};
  bound().syscall(SYS_ppoll, nullptr, 0UL, &patience, nullptr, sizeof(std::uint64_t));
  exit_now(1);
}

class worker_loop final : public task_loop {
 public:
  /// `arena`: this worker's arena, at its position in this call.
  worker_loop(worker_birth const& birth, arena_writer& arena)
      : job_(birth.this_job),
        opts_(birth.opts),
        header_(birth.memory->header()),
        state_(birth.memory->state(birth.number)),
        journal_(birth.resume),
        output_(birth.output),
        again_(birth.again),
        arena_(arena),
        call_(birth.call),
        range_(state_, birth.memory->log(birth.number), birth.memory->layout().log_capacity,
               birth.call, birth.this_job.flat ? birth.this_job.forked.bytes : 0,
               birth.this_job.whole_batches ? birth.this_job.batch_tasks : 1) {
    results = birth.memory->results(birth.number);
    result_bytes = birth.this_job.forked.bytes;
    watched = birth.opts.timeout.is_set() || journal_ != nullptr || output_ != nullptr;
    current = &state_.current;
    range = &range_;
  }

  bool failed(std::uint64_t index) override {
    log_current_exception(arena_, state_, call_, index);
    journaled_ = true;  // a failure is not written to the journal
    bool ends_call = job_.stop_at_failure;
    if (index != outside_tasks) {
      ends_call = failure_ends_call(job_, opts_, header_);
      range_.add(digest_of_failure(index));
      if (ends_call) stopped_before_ = index + 1;
    }
    if (ends_call) cancel();
    return !ends_call;
  }

  writer& begin_blob() override {
    arena_.begin_blob();
    return arena_;
  }

  void made(std::uint64_t result) override {
    if (journal_ != nullptr) {
      auto const bytes = arena_.open_blob();
      append(result, bytes.data(), bytes.size());
      if (journal_failed_) return;  // the open blob has become that of the failure
    }
    auto const name = publishable_blob(
        arena_, state_, {.call = call_, .number = result, .kind = blob_owner::result});
    std::launder(reinterpret_cast<std::atomic<std::uint64_t>*>(results))[result].store(
        name, std::memory_order_release);
  }

  void won(std::uint64_t task) override {
    // First: when the winner is known, the caller ends all workers, this one too.
    journal_inline_result(task);
    if (journal_failed_) return;
    // The result must be published before the winner, or the caller ignores the winner.
    leave(task + 1);
    range_.extends_to(task + 1);
    range_.close_before(task + 1);
    std::uint64_t expected = 0;
    header_.winner.compare_exchange_strong(expected, task + 1, std::memory_order_acq_rel);
    cancel();
  }

  /// Publishes the last task of a claim if tasks are watched. `next`: the next task to run. If
  /// tasks are not watched, the next claim publishes it.
  void leave(std::uint64_t next) {
    if (!watched || running.load(std::memory_order_relaxed) == nothing_running) return;
    auto const task = running.load(std::memory_order_relaxed);
    if (output_ != nullptr) output_->end();
    auto expected = task;
    if (!state_.current.compare_exchange_strong(expected, as_current(next) | not_begun,
                                                std::memory_order_acq_rel)) {
      // The task has timed out. The caller kills this worker, perhaps after it has read a
      // backtrace.
      wait_to_be_killed();
    }
    journal_inline_result(task_of(task));
    running.store(nothing_running, std::memory_order_relaxed);
  }

  /// The task before which the last run ended; `all` if it ran to its end.
  std::uint64_t done_before(std::uint64_t all) noexcept {
    return std::min({all, end, std::exchange(stopped_before_, nowhere)});
  }
  published_range_writer& open_range() noexcept { return range_; }

  /// Whether the call is cancelled: by a failure that ends it, by the caller or by a winner.
  bool cancelled() const noexcept { return header_.cancelled.load(std::memory_order_relaxed) != 0; }
  void cancel() noexcept {
    has_cancelled_ = true;
    header_.cancelled.store(1, std::memory_order_release);
  }
  /// Whether the output of each task is redirected.
  bool redirects_output() const noexcept { return output_ != nullptr; }
  /// Whether this worker cannot keep the output of further tasks.
  bool has_lost_output() const noexcept { return output_ != nullptr && output_->is_lost(); }
  /// Whether this worker has cancelled the call. Other workers may have cancelled it, too.
  bool has_cancelled() const noexcept { return has_cancelled_; }

  child_clock clock;

 private:
  void watch(std::uint64_t i) override {
    leave(i);
    // A batch with one result is published as a whole, so its range is not closed inside it.
    if (!job_.whole_batches && i - range_.begin() >= range_.most_tasks()) range_.close_before(i);
    journaled_ = false;
    running.store(as_current(i), std::memory_order_relaxed);
    // In this order: a caller that sees the task sees when it began.
    state_.started.store(clock.now(), std::memory_order_relaxed);
    state_.current.store(as_current(i), std::memory_order_release);
    if (output_ != nullptr) {
      auto const attempt = again_.attempt_at(i);
      output_->begin(i + job_.first_index, attempt);
    }
  }

  /// Writes the inline result of `task` to the journal. made() writes blobs to it.
  void journal_inline_result(std::uint64_t task) {
    if (journal_ == nullptr || !job_.flat || journaled_) return;
    journaled_ = true;
    // One result for a batch is complete with its last task.
    if (job_.whole_batches) {
      if (task + 1 != end) return;
      task = begin / job_.batch_tasks;
    }
    append(task, results + task * result_bytes, result_bytes);
  }

  /// Appends a result to the journal. If that fails, the call fails: its user relies on the
  /// journal.
  void append(std::uint64_t result, std::byte const* bytes, std::size_t n) {
    try {
      journal_->append(result, bytes, n);
    } catch (...) {
      journal_ = nullptr;
      journal_failed_ = true;
      log_current_exception(arena_, state_, call_, outside_tasks);
      cancel();
    }
  }

  static constexpr std::uint64_t nowhere = ~std::uint64_t{0};

  job const& job_;
  options const& opts_;
  call_header& header_;
  worker_state& state_;
  journal const* journal_;
  task_output* output_;
  retry const& again_;
  arena_writer& arena_;
  std::uint64_t call_;
  published_range_writer range_;
  std::uint64_t stopped_before_ = nowhere;
  bool journaled_ = false;       // the task's result is in the journal or is not needed there
  bool journal_failed_ = false;  // the journal could not be written
  bool has_cancelled_ = false;
};

/// Runs a step of a worker before its first or after its last task. An exception is a failure of
/// the call outside any task.
/// Returns: false if the step threw.
template <class Step> bool run_outside_tasks(worker_loop& loop, Step const& step) {
  try {
    step();
    return true;
  } catch (...) {
    loop.failed(outside_tasks);
    loop.cancel();
    return false;
  }
}

}  // namespace forkmap::detail
