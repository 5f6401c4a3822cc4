// A worker's whole life, from the fork to _exit.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>

#include <forkmap/options.hpp>
#include <forkmap/plan/ledger.hpp>
#include <forkmap/plan/pace.hpp>
#include <forkmap/system/process.hpp>
#include <forkmap/system/stdio.hpp>
#include <forkmap/this_task.hpp>
#include <forkmap/transfer/call_memory.hpp>
#include <forkmap/transfer/failures.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/worker/failure_log.hpp>

namespace forkmap::detail {

/// What a worker is born with: all of it the caller's memory, inherited.
struct worker_birth {
  job const& work;
  options const& how;
  dispatch_plan const& plan;
  call_memory const& memory;
  pid_t caller;
  std::uint32_t number;
  int share;                      // of the machine's cores
  task_range left_over;           // of a predecessor's batch, to be run first
  sigint_blocked const& signals;  // made before the fork
};

/// The tasks of one forked worker: results and failures go to shared memory.
class worker_loop final : public task_loop {
 public:
  explicit worker_loop(worker_birth const& birth)
      : stop_at_failure_(birth.work.stop_at_failure),
        header_(birth.memory.header()),
        slot_(birth.memory.slots()[birth.number]),
        arena_(birth.memory.file().get(), slot_.arena_next.load(std::memory_order_relaxed),
               birth.memory.arenas().begin(birth.number + 1)) {
    current = &slot_.current;
    results = birth.memory.results();
    result_bytes = birth.work.forked.bytes;
  }

  bool failed(std::uint64_t index) override {
    log_current_exception(arena_, slot_, index);
    if (stop_at_failure_) header_.cancelled.store(true, std::memory_order_release);
    return !stop_at_failure_;
  }

  writer& begin_record() override {
    arena_.begin_record();
    return arena_;
  }

  void made(std::uint64_t result) override {
    auto const name = publishable_record(arena_, slot_);
    std::launder(reinterpret_cast<std::atomic<std::uint64_t>*>(results))[result].store(
        name, std::memory_order_release);
  }

  /// A task has failed and the call wants no more, or the caller has cancelled it.
  bool cancelled() const noexcept { return header_.cancelled.load(std::memory_order_relaxed); }

 private:
  bool stop_at_failure_;
  call_header& header_;
  worker_slot& slot_;
  arena_writer arena_;
};

/// Keeps the pages that a worker will soon write present, ahead of its tasks.
class page_feeder {
 public:
  page_feeder(std::byte* base, std::size_t item_bytes) noexcept
      : base_(base), item_bytes_(item_bytes) {}

  /// Items [first, last) come next; items up to `bound` may come after them.
  void upcoming(std::uint64_t first, std::uint64_t last, std::uint64_t bound) noexcept {
    auto const begin = first * item_bytes_;
    auto const end = last * item_bytes_;
    if (populated_begin_ <= begin && end <= populated_end_) return;
    auto const stop = std::max<std::uint64_t>(
        end, std::min<std::uint64_t>(begin + next_bytes_, bound * item_bytes_));
    // One page is not worth a call of its own.
    if (stop - begin > page_bytes) populate_for_writing(base_ + begin, stop - begin);
    populated_begin_ = begin;
    populated_end_ = stop;
    next_bytes_ = std::min(next_bytes_ * 4, populate_bytes);
  }

 private:
  std::byte* base_;
  std::size_t item_bytes_;
  std::uint64_t populated_begin_ = 1;
  std::uint64_t populated_end_ = 0;
  std::size_t next_bytes_ = 4 * page_bytes;
};

inline constexpr std::uint64_t paced_batches = 256;

/// Runs the tasks that this worker gets.
inline void run_tasks(worker_birth const& birth, worker_loop& loop) {
  using clock = std::chrono::steady_clock;
  auto const& work = birth.work;
  auto& slot = birth.memory.slots()[birth.number];

  if (birth.left_over.begin != birth.left_over.end) {
    loop.begin = birth.left_over.begin;
    loop.end = birth.left_over.end;
    work.run(work.tasks, loop);
    slot.current.store(nothing_running, std::memory_order_release);
  }
  claimant claims(birth.plan, birth.memory.lanes(), birth.memory.slots(), birth.number);
  pace speed;
  task_range tasks;
  // A few tasks are claimed one by one without asking the time: a clock's first reading in a
  // process costs more than they do.
  bool const paced = birth.plan.n_batches > paced_batches;
  auto last = paced ? clock::now() : clock::time_point{};
  page_feeder results(loop.results, loop.result_bytes);
  auto const words = birth.memory.lanes();
  page_feeder ledger_words(words.bytes(), sizeof(std::uint64_t));
  auto const feed_ledger = [&] {
    auto const next = slot.cursor.load(std::memory_order_relaxed) / ledger::lanes;
    auto const region = slot.region_end.load(std::memory_order_relaxed);
    ledger_words.upcoming(next, next + 1, ledger::words_for(region));
  };
  if (paced) feed_ledger();
  // Where the size of a batch is given, a claim is one batch.
  while (!loop.cancelled() &&
         claims.next(tasks, work.batch_tasks != 0 ? 1 : speed.most_batches())) {
    loop.begin = tasks.begin;
    loop.end = tasks.end;
    if (paced) {
      feed_ledger();
      if (!work.whole_batches) {
        auto const region_end = slot.region_end.load(std::memory_order_relaxed);
        results.upcoming(tasks.begin, tasks.end, birth.plan.tasks_of(0, region_end).end);
      }
    }
    work.run(work.tasks, loop);
    if (paced && speed.claim_done()) {
      auto const now = clock::now();
      speed.reading(now - last);
      last = now;
    }
  }
  slot.current.store(nothing_running, std::memory_order_release);
}

/// Runs worker_init or worker_exit; what it throws is a failure of the call, outside any task.
inline bool run_hook(std::function<void(int)> const& hook, worker_birth const& birth,
                     worker_loop& loop) {
  if (!hook) return true;
  try {
    hook(static_cast<int>(birth.number));
    return true;
  } catch (...) {
    loop.failed(outside_tasks);
    birth.memory.header().cancelled.store(true, std::memory_order_release);
    return false;
  }
}

/// Lives as a worker. Called in the child of a fork; never returns, and nothing leaves it: what
/// escapes (it would have to come from a lack of memory while recording a failure) is a death,
/// which the caller sees.
[[noreturn]] inline void live_as_worker(worker_birth const& birth) noexcept {
  follow_parent(birth.caller);
  birth.signals.restore_in_child();
  leave_at_exit();
  forget_inherited_output();
  print_in_lines();
  birth.memory.populate();
  this_process = {.is_worker = true, .share = birth.share};

  auto& slot = birth.memory.slots()[birth.number];
  scoped_options = nullptr;  // the defaults for nested calls are this worker's share of the machine
  task_frame frame;
  frame.worker = static_cast<int>(birth.number);
  frame.seed = birth.how.seed;
  active_frame = &frame;

  worker_loop loop(birth);
  if (run_hook(birth.how.worker_init, birth, loop)) {
    frame.current = &slot.current;
    slot.phase.store(worker_phase::working, std::memory_order_release);
    run_tasks(birth, loop);
    frame.current = nullptr;
    slot.phase.store(worker_phase::leaving, std::memory_order_release);
    run_hook(birth.how.worker_exit, birth, loop);
  }
  flush_output();
  slot.phase.store(worker_phase::finished, std::memory_order_release);
  exit_now(0);
}

}  // namespace forkmap::detail
