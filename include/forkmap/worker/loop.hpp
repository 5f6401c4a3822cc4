// The tasks of one forked worker: claimed from the ledger, results and failures to shared memory.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>

#include <forkmap/options.hpp>
#include <forkmap/plan/ledger.hpp>
#include <forkmap/plan/pace.hpp>
#include <forkmap/system/bound.hpp>
#include <forkmap/system/clock.hpp>
#include <forkmap/transfer/arena.hpp>
#include <forkmap/transfer/call_memory.hpp>
#include <forkmap/transfer/failures.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/transfer/journal.hpp>
#include <forkmap/worker/birth.hpp>
#include <forkmap/worker/failure_log.hpp>
#include <forkmap/worker/page_feeder.hpp>

namespace forkmap::detail {

class worker_loop final : public task_loop {
 public:
  /// `arena` is this worker's, at its place in this call.
  worker_loop(worker_birth const& birth, arena_writer& arena)
      : work_(birth.work),
        header_(birth.memory.header()),
        slot_(birth.memory.slots()[birth.number]),
        journal_(birth.resume),
        arena_(arena) {
    results = birth.memory.results();
    result_bytes = birth.work.forked.bytes;
    watched = birth.how.timeout.is_set() || journal_ != nullptr;
    current = watched ? &running_ : &slot_.current;
  }

  bool failed(std::uint64_t index) override {
    log_current_exception(arena_, slot_, index);
    recorded_ = true;  // failures are not
    if (work_.stop_at_failure) cancel();
    return !work_.stop_at_failure;
  }

  writer& begin_record() override {
    arena_.begin_record();
    return arena_;
  }

  void made(std::uint64_t result) override {
    if (journal_ != nullptr) {
      auto const bytes = arena_.open_record();
      append(result, bytes.data(), bytes.size());
      if (unrecorded_) return;  // the record is that of the failure now
    }
    auto const name = publishable_record(arena_, slot_);
    std::launder(reinterpret_cast<std::atomic<std::uint64_t>*>(results))[result].store(
        name, std::memory_order_release);
  }

  void won(std::uint64_t task) override {
    record_flat(task);  // before anybody knows: who has won is ended with those that still run
    if (unrecorded_) return;
    std::uint64_t expected = 0;
    header_.winner.compare_exchange_strong(expected, task + 1, std::memory_order_acq_rel);
    cancel();
  }

  /// Commits the last task of a claim, where tasks are watched: `next` is what is to be done after
  /// it. Otherwise the next claim does.
  void leave(std::uint64_t next) {
    if (!watched || running_.load(std::memory_order_relaxed) == nothing_running) return;
    auto const task = running_.load(std::memory_order_relaxed);
    auto expected = task;
    if (!slot_.current.compare_exchange_strong(expected, next, std::memory_order_acq_rel)) {
      // Over its limit, and therefore ended: by the caller, who may still be looking at it.
      for (;;) bound().syscall(SYS_pause);
    }
    record_flat(task);
    running_.store(nothing_running, std::memory_order_relaxed);
  }

  /// A task has failed and the call wants no more, or the caller has cancelled it.
  bool cancelled() const noexcept { return header_.cancelled.load(std::memory_order_relaxed); }
  void cancel() noexcept {
    has_cancelled_ = true;
    header_.cancelled.store(true, std::memory_order_release);
  }
  /// Whether it was this worker that has cancelled the call, or one of several.
  bool has_cancelled() const noexcept { return has_cancelled_; }

  child_clock clock;

 private:
  void watch(std::uint64_t i) override {
    leave(i | not_begun);
    recorded_ = false;
    running_.store(i, std::memory_order_relaxed);
    // In this order: a caller that sees the task sees when it began.
    slot_.started.store(clock.now(), std::memory_order_relaxed);
    slot_.current.store(i, std::memory_order_release);
  }

  /// A result of its own place, which the task that runs has put there; made() records others.
  void record_flat(std::uint64_t task) {
    if (journal_ == nullptr || !work_.flat || recorded_) return;
    recorded_ = true;
    // One result for a batch is complete with its last task.
    if (work_.whole_batches) {
      if (task + 1 != end) return;
      task = begin / work_.batch_tasks;
    }
    append(task, results + task * result_bytes, result_bytes);
  }

  /// A journal that cannot be written ends the call: its user counts on it.
  void append(std::uint64_t result, std::byte const* bytes, std::size_t n) {
    try {
      journal_->append(result, bytes, n);
    } catch (...) {
      journal_ = nullptr;
      unrecorded_ = true;
      log_current_exception(arena_, slot_, outside_tasks);
      cancel();
    }
  }

  job const& work_;
  call_header& header_;
  worker_slot& slot_;
  journal const* journal_;
  arena_writer& arena_;
  // Where tasks are watched: what runs, as this process sees it, while slot_.current is shared with
  // the caller who may end it.
  std::atomic<std::uint64_t> running_{nothing_running};
  bool recorded_ = false;    // the task's result is in the journal, or need not be
  bool unrecorded_ = false;  // the journal could not be written
  bool has_cancelled_ = false;
};

/// Keeps the longest tasks of a worker, for the report.
inline void note_duration(worker_slot& slot, std::uint64_t task, std::int64_t took) noexcept {
  constexpr auto relaxed = std::memory_order_relaxed;
  auto& [first, second] = slot.slowest;
  if (took <= second.took.load(relaxed)) return;
  if (took > first.took.load(relaxed)) {
    second.task.store(first.task.load(relaxed), relaxed);
    second.took.store(first.took.load(relaxed), relaxed);
    first.task.store(task, relaxed);
    first.took.store(took, relaxed);
  } else {
    second.task.store(task, relaxed);
    second.took.store(took, relaxed);
  }
}

/// Up to this many batches the clock is read at each claim; above, when a worker's pace says so.
inline constexpr std::uint64_t paced_batches = 256;

/// How many tasks a new worker may run.
inline std::uint64_t tasks_per_worker(options const& how) noexcept {
  return how.max_tasks_per_worker > 0 ? static_cast<std::uint64_t>(how.max_tasks_per_worker)
                                      : ~std::uint64_t{0};
}

/// Takes tasks and runs them until none is left, or until this worker has had its share of them.
class task_runner {
 public:
  /// `left`: tasks until this worker is replaced (options::max_tasks_per_worker).
  task_runner(worker_birth const& birth, worker_loop& loop, std::uint64_t& left)
      : birth_(birth),
        loop_(loop),
        slot_(birth.memory.slots()[birth.number]),
        claims_(birth.plan, birth.memory.lanes(), birth.memory.slots(), birth.number),
        left_(left) {}

  /// Returns: whether work is left for a replacement.
  bool run() {
    auto const& left_over = birth_.left_over;
    bool all_of_it = left_over.begin == left_over.end;
    if (!all_of_it) {
      handed_on_ = loop_.cancelled();  // it stays marked as not begun
      all_of_it = !handed_on_ && run_range(left_over);
    }
    bool const retires =
        !all_of_it || (birth_.plan.n_batches > paced_batches ? run_many() : run_few());
    if (!handed_on_ && !loop_.watched) {
      slot_.current.store(nothing_running, std::memory_order_release);
    }
    return retires;
  }

 private:
  /// A few tasks are claimed one by one.
  bool run_few() {
    task_range tasks;
    auto last = loop_.clock.now();
    while (left_ != 0 && !loop_.cancelled() && claims_.next(tasks, 1)) {
      if (!run_range(tasks)) return true;
      auto const now = loop_.clock.now();
      if (tasks.end - tasks.begin == 1) note_duration(slot_, tasks.begin, now - last);
      last = now;
    }
    return left_ == 0;
  }

  /// Many, by words of the ledger while they are short, and into pages made present before.
  bool run_many() {
    auto const& plan = birth_.plan;
    pace speed;
    task_range tasks;
    auto last = loop_.clock.now();
    page_feeder results(loop_.results, loop_.result_bytes, birth_.present);
    page_feeder ledger_words(birth_.memory.lanes().bytes(), sizeof(std::uint64_t), birth_.present);
    auto const feed_ledger = [&] {
      auto const next = slot_.cursor.load(std::memory_order_relaxed) / ledger::lanes;
      auto const region = slot_.region_end.load(std::memory_order_relaxed);
      ledger_words.upcoming(next, next + 1, ledger::words_for(region));
    };
    feed_ledger();
    // Where the size of a batch is given, a claim is one batch.
    while (left_ != 0 && !loop_.cancelled() && claims_.next(tasks, most_batches(speed))) {
      feed_ledger();
      if (!birth_.work.whole_batches) {
        auto const region_end = slot_.region_end.load(std::memory_order_relaxed);
        results.upcoming(tasks.begin, tasks.end, plan.tasks_of(0, region_end).end);
      }
      if (!run_range(tasks)) return true;
      if (speed.claim_done()) {
        auto const now = loop_.clock.now();
        if (speed.claims() == 1 && tasks.end - tasks.begin == 1)
          note_duration(slot_, tasks.begin, now - last);
        speed.reading(std::chrono::nanoseconds(now - last));
        last = now;
      }
    }
    return left_ == 0;
  }

  std::uint64_t most_batches(pace const& speed) const noexcept {
    return birth_.work.batch_tasks != 0 ? 1 : std::min(speed.most_batches(), left_);
  }

  /// Runs these tasks, which this worker owns.
  /// Returns: false if some of them are left to its replacement.
  bool run_range(task_range tasks) {
    // A batch with one result is run by one worker.
    auto const n = birth_.work.whole_batches ? tasks.end - tasks.begin
                                             : std::min(left_, tasks.end - tasks.begin);
    loop_.begin = tasks.begin;
    loop_.end = tasks.begin + n;
    birth_.work.run(birth_.work.tasks, loop_);
    left_ -= std::min(left_, n);
    if (tasks.begin + n != tasks.end) {
      hand_on(tasks.begin + n);
      return false;
    }
    loop_.leave(nothing_running);
    return true;
  }

  /// Says that `next` is this batch's first task that has not begun.
  void hand_on(std::uint64_t next) {
    handed_on_ = true;
    if (loop_.watched)
      loop_.leave(next | not_begun);
    else
      slot_.current.store(next | not_begun, std::memory_order_release);
  }

  worker_birth const& birth_;
  worker_loop& loop_;
  worker_slot& slot_;
  claimant claims_;
  std::uint64_t& left_;
  bool handed_on_ = false;
};

}  // namespace forkmap::detail
