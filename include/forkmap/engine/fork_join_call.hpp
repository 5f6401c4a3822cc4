// One call with forked workers: share memory -> fork -> wait and repair -> collect.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <utility>

#include <forkmap/cpu.hpp>
#include <forkmap/engine/after_death.hpp>
#include <forkmap/engine/call_limits.hpp>
#include <forkmap/engine/fates.hpp>
#include <forkmap/engine/fork_join_results.hpp>
#include <forkmap/engine/hazards.hpp>
#include <forkmap/engine/reporting.hpp>
#include <forkmap/options.hpp>
#include <forkmap/plan/dispatch.hpp>
#include <forkmap/system/clock.hpp>
#include <forkmap/system/oom.hpp>
#include <forkmap/system/owner.hpp>
#include <forkmap/system/per_worker.hpp>
#include <forkmap/system/process.hpp>
#include <forkmap/system/stdio.hpp>
#include <forkmap/worker/death.hpp>
#include <forkmap/worker/failure_log.hpp>
#include <forkmap/worker/life.hpp>
#include <forkmap/worker/stuck.hpp>

namespace forkmap::detail {

/// One call: its workers, and the caller who watches over them.
template <class = void> class fork_join_call {
 public:
  fork_join_call(job const& work, options const& how, dispatch_plan const& plan, journal earlier,
                 std::int64_t called_at)
      : work_(work),
        how_(how),
        plan_(plan),
        results_(new fork_join_results(work, plan, std::move(earlier))),
        owned_results_(results_),
        fates_(work, plan, *results_),
        limits_(how, called_at),
        probe_signal_(limits_.task.is_set() ? unused_signal() : 0),
        share_(std::max(1, effective_n_jobs(-1) / static_cast<int>(plan.n_workers))),
        lives_(plan.n_workers),
        report_(report_of_this_thread, called_at) {}

  owner<call_results> run() {
    if (results_->restored != plan_.n_batches && winner() == 0) {
      if (auto const ended = limits_.reached(now()); ended != ended_call::by_nothing) {
        fates_.note_unfinished(ended);
      } else {
        start_all();
        watch();
        note_death();
      }
    }
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      read_failures(results_->arenas, memory().slots()[k], work_.first_index, results_->failures);
    }
    results_->failures.sort();
    results_->winner = winner();
    report_.publish(work_, plan_, *results_, true);
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      report_.replaced(k, lives_[k].replacements);
    }
    return std::move(owned_results_);
  }

 private:
  /// What the caller knows of the process in a slot.
  struct life {
    child_process process{};
    std::uint32_t number = 0;  // among the processes of this call, from 1
    retry again{};        // the attempts at the task that it, or its predecessor, was given again
    int replacements = 0;
    int idle_deaths = 0;  // of processes in a row that had not come to any task
    whereabouts stuck{};  // where its task was when it was given up
  };

  call_memory const& memory() const noexcept { return results_->memory; }
  std::uint64_t winner() const noexcept {
    return memory().header().winner.load(std::memory_order_acquire);
  }

  /// For limits only: 0 where there are none.
  std::int64_t now() const noexcept { return limits_.exist() ? nanoseconds_now() : 0; }

  void start_all() {
    warn_of_hazards();
    flush_output();
    // Until the workers ignore it: what SIGINT means is for the caller to decide.
    sigint_blocked const signals;
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) start(k, {}, signals);
  }

  /// Forks worker k. `left_over` is what its predecessor has left of a batch.
  [[gnu::hot]] void start(std::uint32_t k, task_range left_over, sigint_blocked const& signals) {
    worker_birth const birth{.work = work_,
                             .how = how_,
                             .plan = plan_,
                             .memory = memory(),
                             .resume = results_->resume ? &results_->resume : nullptr,
                             .threads = threads_,
                             .signals = &signals,
                             .caller = ::getpid(),
                             .number = k,
                             .process = ++n_started_,
                             .share = share_,
                             .probe_signal = probe_signal_,
                             .left_over = left_over,
                             .again = lives_[k].again,
                             .present = nullptr};
    lives_[k].number = n_started_;
    lives_[k].process = child_process::start([&] { live_as_worker(birth); });
  }

  /// Sleeps until a worker ends or a time is over, and sees to it, until all have ended. A worker
  /// whose failure or success ends the call ends itself.
  void watch() {
    per_worker<pollfd> ends(plan_.n_workers);
    auto left = plan_.n_workers;
    for (;;) {
      bool const quiet = !sleep(ends);
      for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
        auto const& process = lives_[k].process;
        bool const ended = process && (ends[k].revents != 0 || process.handle() < 0);
        if (ended && !goes_on(k)) --left;
      }
      if (quiet) note_death();
      if (left == 0) return;
      if (cancelled()) return end_all();
      auto const time = now();
      if (auto const ended = limits_.reached(time); ended != ended_call::by_nothing) {
        end_all();
        return fates_.note_unfinished(ended);
      }
      for (std::uint32_t k = 0; limits_.task.is_set() && k != plan_.n_workers; ++k) {
        if (lives_[k].process && limits_.task.gives_up(memory().slots()[k], time)) end_stuck(k);
      }
    }
  }

  /// Waits in the kernel for whatever comes first.
  /// Returns: false if nothing has happened, but for a time that is over.
  bool sleep(per_worker<pollfd>& ends) {
    auto const time = now();
    auto wake = limits_.next_look(time);
    constexpr std::int64_t soon_ns = 2'000'000;  // a replacement has come to its task by then
    if (any_unnoted_) wake = std::min(wake, time + soon_ns);
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      auto const& process = lives_[k].process;
      ends[k] = {process.handle(), POLLIN, 0};
      if (process && process.handle() < 0) wake = 0;  // somebody else has collected it
      if (process && limits_.task.is_set())
        wake = std::min(wake, limits_.task.due(memory().slots()[k], time));
    }
    auto const rest = std::max<std::int64_t>(0, wake - time);
    timespec const patience{.tv_sec = rest / 1'000'000'000, .tv_nsec = rest % 1'000'000'000};
    auto const n_ended =
        ::ppoll(ends.data(), ends.size(), wake == INT64_MAX ? nullptr : &patience, nullptr);
    if (n_ended < 0 && errno != EINTR && errno != EAGAIN) {
      throw_errno("poll for the end of workers");
    }
    return n_ended != 0;
  }

  /// A worker whose task has just been given up.
  void end_stuck(std::uint32_t k) {
    auto const& process = lives_[k].process;
    lives_[k].stuck = locate(process, lives_[k].number, memory().backtrace(k), probe_signal_);
    kill_tree(process);
  }

  /// Sees to the end of worker k.
  /// Returns: whether a replacement goes on in its place.
  bool goes_on(std::uint32_t k) {
    auto& slot = memory().slots()[k];
    auto& it = lives_[k];
    auto gone = wait_for(k);
    auto const phase = slot.phase.load(std::memory_order_acquire);
    if (phase == worker_phase::finished) return false;
    // Nothing was left to do but to leave; a hook that did not get to its end is a failure, though.
    if (phase == worker_phase::leaving && !how_.worker_exit) return false;

    auto const last = fates_.last_moment_of(k);
    auto left_over = last.left_over;
    bool const retired =
        phase == worker_phase::retired || (phase == worker_phase::retiring && !how_.worker_exit);
    bool const failed = last.was_running && !again(k, last);
    if (failed && work_.stop_at_failure) cancel();
    if (last.was_running && !failed) left_over.begin = it.again.tasks.begin;
    if (last.was_running || last.ended || retired) {
      it.idle_deaths = 0;
    } else if (phase == worker_phase::leaving || phase == worker_phase::retiring ||
               is_last_idle_death(it.idle_deaths, gone.end)) {
      // Nothing to blame, and nothing to be gained by another try.
      results_->failures.add(death_outside_tasks(std::move(gone), phase));
      cancel();
    }
    bool const rest = left_over.begin < left_over.end;
    // What is left of the batch stays marked as this slot's, the task that it died of does not.
    slot.current.store(waiting_for_replacement(left_over), std::memory_order_relaxed);
    bool const goes_on = !cancelled() && (rest || !fates_.all_claimed());
    if (failed) {
      note_death();
      unnoted_ = {last, std::move(gone), std::move(it.stuck), it.again, false};
      any_unnoted_ = true;
    }
    if (goes_on) replace(k, rest ? left_over : task_range{});
    return goes_on;
  }

  /// Collects worker k, which ends.
  ended_process wait_for(std::uint32_t k) {
    auto& it = lives_[k];
    auto const pid = it.process.pid();
    auto const end = it.process.wait();
    report_.ended(memory().slots()[k], end);
    return {pid, end, last_words::of(it.number, end, memory().backtrace(k))};
  }

  /// Whether the task that worker k has died of is tried again; if not, it has failed.
  bool again(std::uint32_t k, last_moment const& last) {
    if (!try_again(lives_[k].again, last, work_, plan_, how_)) return false;
    report_.retried();
    return true;
  }

  void note_failure(death_in_task it) {
    it.out_of_memory = is_out_of_memory(it.last, it.gone.end, oom_);
    results_->failures.add(failure_after(std::move(it), work_, how_));
  }
  void note_death() {
    if (std::exchange(any_unnoted_, false)) note_failure(std::move(unnoted_));
  }

  void replace(std::uint32_t k, task_range left_over) {
    auto& slot = memory().slots()[k];
    slot.phase.store(worker_phase::starting, std::memory_order_relaxed);
    ++lives_[k].replacements;
    // Nobody but other threads has printed anything since the workers were started.
    if (__libc_single_threaded == 0) flush_output();
    sigint_blocked const signals;
    start(k, left_over, signals);
  }

  void cancel() noexcept { memory().header().cancelled.store(true, std::memory_order_release); }
  bool cancelled() const noexcept {
    return memory().header().cancelled.load(std::memory_order_acquire);
  }

  /// Ends all workers and what they have started. Those that had died already still tell of what.
  void end_all() {
    for (auto& it : lives_) {
      if (it.process) kill_tree(it.process);
    }
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      auto& it = lives_[k];
      if (!it.process) continue;
      auto gone = wait_for(k);
      if (memory().slots()[k].phase.load(std::memory_order_acquire) != worker_phase::working)
        continue;
      auto const last = fates_.last_moment_of(k);
      if (!last.was_running) continue;
      if (last.given_up || (gone.end.known && gone.end.signal != SIGKILL)) {
        memory().slots()[k].current.store(waiting_for_replacement(last.left_over),
                                          std::memory_order_relaxed);
        note_failure({last, std::move(gone), std::move(it.stuck), it.again, false});
      }
    }
  }

  job const& work_;
  options const& how_;
  dispatch_plan const& plan_;
  fork_join_results* results_;
  owner<call_results> owned_results_;
  fates fates_;
  call_limits limits_;
  int probe_signal_;
  int share_;  // of the machine's cores, for each worker
  thread_limits threads_;
  oom_counter oom_;
  // The last one, until its replacement is at work: what takes its time, and writes to memory that
  // both would have to copy, would keep that from it.
  death_in_task unnoted_{};
  bool any_unnoted_ = false;
  std::uint32_t n_started_ = 0;
  per_worker<life> lives_;  // ends the processes, whatever is thrown
  call_report report_;
};

}  // namespace forkmap::detail
