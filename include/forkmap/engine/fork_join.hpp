// The engine that forks its workers at the call: plan -> share memory -> fork -> wait and repair ->
// collect.
#pragma once

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include <forkmap/cpu.hpp>
#include <forkmap/engine/engine.hpp>
#include <forkmap/engine/per_worker.hpp>
#include <forkmap/options.hpp>
#include <forkmap/plan/dispatch.hpp>
#include <forkmap/system/process.hpp>
#include <forkmap/system/stdio.hpp>
#include <forkmap/transfer/call_memory.hpp>
#include <forkmap/transfer/results.hpp>
#include <forkmap/worker/death.hpp>
#include <forkmap/worker/failure_log.hpp>
#include <forkmap/worker/life.hpp>

namespace forkmap::detail {

/// Results in the call's shared memory.
class fork_join_results final : public call_results {
 public:
  fork_join_results(job const& work, dispatch_plan const& plan)
      : memory(plan, work.n_results, work.forked.bytes, work.forked.align),
        arenas(memory.file(), memory.arenas(), memory.slots(), plan.n_workers) {
    slots = memory.results();
    slot_bytes = work.forked.bytes;
  }

  reader record(std::uint64_t result) override { return arenas.record(name_of(result)); }
  std::size_t record_bytes() const noexcept override { return arenas.written(); }
  void taken(std::uint64_t result) noexcept override { arenas.release(name_of(result)); }

  /// 0 as long as there is none. For results that are records.
  std::uint64_t name_of(std::uint64_t result) const noexcept {
    return std::launder(reinterpret_cast<std::atomic<std::uint64_t> const*>(slots))[result].load(
        std::memory_order_acquire);
  }

  call_memory memory;
  arena_reader arenas;
};

/// One call: its workers, and the caller who watches over them.
class fork_join_call {
 public:
  fork_join_call(job const& work, options const& how, dispatch_plan const& plan)
      : work_(work),
        how_(how),
        plan_(plan),
        results_(std::make_unique<fork_join_results>(work, plan)),
        share_(std::max(1, effective_n_jobs(-1) / static_cast<int>(plan.n_workers))),
        workers_(plan.n_workers),
        idle_deaths_(plan.n_workers) {}

  std::unique_ptr<call_results> run() {
    if (how_.stop.stop_requested()) {
      note_stopped();
    } else {
      start_all();
      watch();
    }
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      read_failures(results_->arenas, memory().slots()[k], results_->failures);
    }
    results_->failures.sort();
    return std::move(results_);
  }

 private:
  static constexpr int most_idle_deaths = 3;
  static constexpr int stop_interval_ms = 50;

  call_memory& memory() const noexcept { return results_->memory; }

  void start_all() {
    flush_output();
    // Until the workers ignore it: what SIGINT means is for the caller to decide.
    sigint_blocked const signals;
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) start(k, {}, signals);
  }

  /// Forks worker k. `left_over` is what its predecessor has left of a batch.
  void start(std::uint32_t k, task_range left_over, sigint_blocked const& signals) {
    worker_birth const birth{work_, how_,   plan_,     memory(), ::getpid(),
                             k,     share_, left_over, signals};
    workers_[k] = child_process::start([&] { live_as_worker(birth); });
  }

  /// Sleeps until a worker ends, and sees to what it left, until all have ended. Nothing but an end
  /// needs the caller: a worker whose failure ends the call ends itself.
  void watch() {
    per_worker<pollfd> ends(plan_.n_workers);
    auto left = plan_.n_workers;
    while (left != 0) {
      bool reaped_elsewhere = false;
      for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
        ends[k] = {workers_[k].handle(), POLLIN, 0};
        reaped_elsewhere |= workers_[k] && workers_[k].handle() < 0;
      }
      auto const timeout = reaped_elsewhere ? 0 : how_.stop.stop_possible() ? stop_interval_ms : -1;
      if (::poll(ends.data(), ends.size(), timeout) < 0 && errno != EINTR && errno != EAGAIN) {
        throw_errno("poll for the end of workers");
      }
      for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
        if (workers_[k] && (ends[k].revents != 0 || workers_[k].handle() < 0) && !goes_on(k)) {
          --left;
        }
      }
      if (left != 0 && how_.stop.stop_requested()) {
        end_all();
        note_stopped();
        return;
      }
      if (left != 0 && cancelled()) {
        end_all();
        return;
      }
    }
  }

  /// Sees to the end of worker k.
  /// Returns: whether a replacement goes on in its place.
  bool goes_on(std::uint32_t k) {
    auto& slot = memory().slots()[k];
    auto const pid = workers_[k].pid();
    auto const end = workers_[k].wait();
    auto const phase = slot.phase.load(std::memory_order_acquire);
    if (phase == worker_phase::finished) return false;
    // Nothing was left to do but to leave; a hook that did not get to its end is a failure, though.
    if (phase == worker_phase::leaving && !how_.worker_exit) return false;

    auto const last = last_moment_of(k);
    if (last.was_running) {
      results_->failures.add(death_of(last.task, pid, end));
      if (work_.stop_at_failure) cancel();
    }
    if (last.was_running || last.ended) {
      idle_deaths_[k] = 0;
    } else if (phase == worker_phase::leaving || ++idle_deaths_[k] == most_idle_deaths) {
      // Nothing to blame, and nothing to be gained by another try.
      results_->failures.add(death_outside_tasks(pid, phase, end));
      cancel();
    }
    if (cancelled()) return false;

    // What is left of the batch stays marked as this slot's, also while no worker runs it.
    bool const rest = last.left_over.begin < last.left_over.end;
    slot.current.store(rest ? last.left_over.begin : nothing_running, std::memory_order_relaxed);
    slot.phase.store(worker_phase::starting, std::memory_order_relaxed);
    flush_output();
    sigint_blocked const signals;
    start(k, rest ? last.left_over : task_range{}, signals);
    return true;
  }

  last_moment last_moment_of(std::uint32_t k) {
    auto const& slot = memory().slots()[k];
    return moment_of_death(plan_, memory().lanes(), slot, k, work_.whole_batches,
                           [&](std::uint64_t task) { return has_ended(slot, task); });
  }

  /// Whether the task, the last that was run in that slot, had recorded its result or its failure.
  bool has_ended(worker_slot const& slot, std::uint64_t task) {
    if (has_failed(results_->arenas, slot, task)) return true;
    if (work_.flat) return false;  // what `current` has not committed is not there
    return results_->name_of(work_.whole_batches ? task / plan_.batch_tasks : task) != 0;
  }

  void cancel() noexcept { memory().header().cancelled.store(true, std::memory_order_release); }
  bool cancelled() const noexcept {
    return memory().header().cancelled.load(std::memory_order_acquire);
  }

  /// Ends all workers. Those that had died by themselves still tell of what.
  void end_all() {
    for (auto& worker : workers_) worker.kill();
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      if (!workers_[k]) continue;
      auto const pid = workers_[k].pid();
      auto const end = workers_[k].wait();
      if (!end.known || end.signal == SIGKILL) continue;
      if (memory().slots()[k].phase.load(std::memory_order_acquire) != worker_phase::working)
        continue;
      auto const last = last_moment_of(k);
      if (last.was_running) results_->failures.add(death_of(last.task, pid, end));
    }
  }

  /// After a stop: which tasks had not ended.
  void note_stopped() {
    for (std::uint64_t task = 0; task != plan_.n_tasks; ++task) {
      auto const mark = memory().lanes().owner_mark(task / plan_.batch_tasks);
      auto reason = failure::never_started;
      if (mark != 0) {
        auto const& slot = memory().slots()[mark - 1];
        auto const current = slot.current.load(std::memory_order_acquire);
        bool const in_last_batch = current != nothing_running && current <= task &&
                                   task < slot.batch_end.load(std::memory_order_acquire) &&
                                   memory().lanes().owner_mark(current / plan_.batch_tasks) == mark;
        if (!in_last_batch) continue;  // it had ended
        if (current == task &&
            slot.phase.load(std::memory_order_acquire) != worker_phase::starting) {
          if (has_ended(slot, task)) continue;
          reason = failure::cancelled;
        }
      }
      results_->failures.add(cancelled_task(task, reason, 0));
      if (work_.stop_at_failure) return;
    }
  }

  job const& work_;
  options const& how_;
  dispatch_plan const& plan_;
  std::unique_ptr<fork_join_results> results_;
  int share_;                          // of the machine's cores, for each worker
  per_worker<child_process> workers_;  // ends them, whatever is thrown
  per_worker<int> idle_deaths_;
};

/// Forks workers for each call: they see all that the caller sees, and only results travel.
class fork_join_engine {
 public:
  fork_join_engine(options const& how, int n_workers) noexcept : how_(how), n_workers_(n_workers) {}

  std::unique_ptr<call_results> run(job const& work) const {
    auto const plan =
        make_plan(work.n_tasks, static_cast<std::uint32_t>(n_workers_), work.batch_tasks);
    return fork_join_call(work, how_, plan).run();
  }

 private:
  options const& how_;
  int n_workers_;
};

static_assert(engine<fork_join_engine>);

}  // namespace forkmap::detail
