// One call with forked workers: share memory -> fork -> wait and repair -> collect.
#pragma once

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include <forkmap/cpu.hpp>
#include <forkmap/engine/fates.hpp>
#include <forkmap/engine/fork_join_results.hpp>
#include <forkmap/engine/hazards.hpp>
#include <forkmap/engine/per_worker.hpp>
#include <forkmap/engine/reporting.hpp>
#include <forkmap/options.hpp>
#include <forkmap/plan/dispatch.hpp>
#include <forkmap/system/oom.hpp>
#include <forkmap/system/process.hpp>
#include <forkmap/system/stdio.hpp>
#include <forkmap/worker/death.hpp>
#include <forkmap/worker/failure_log.hpp>
#include <forkmap/worker/life.hpp>
#include <forkmap/worker/limits.hpp>
#include <forkmap/worker/stuck.hpp>

namespace forkmap::detail {

/// One call: its workers, and the caller who watches over them.
class fork_join_call {
 public:
  fork_join_call(job const& work, options const& how, dispatch_plan const& plan,
                 std::unique_ptr<journal> earlier, std::int64_t called_at)
      : work_(work),
        how_(how),
        plan_(plan),
        results_(std::make_unique<fork_join_results>(work, plan, std::move(earlier))),
        fates_(work, plan, *results_),
        limit_(how.timeout),
        deadline_(how.deadline.is_set()
                      ? task_limit::saturated_sum(called_at, how.deadline.value().count())
                      : INT64_MAX),
        probe_signal_(limit_.is_set() ? unused_signal() : 0),
        share_(std::max(1, effective_n_jobs(-1) / static_cast<int>(plan.n_workers))),
        lives_(plan.n_workers),
        report_(called_at) {}

  std::unique_ptr<call_results> run() {
    if (results_->restored != plan_.n_batches && winner() == 0) {
      if (how_.stop.stop_requested()) {
        fates_.note_unfinished(ended_call::by_stop);
      } else if (nanoseconds_now() >= deadline_) {
        fates_.note_unfinished(ended_call::by_deadline);
      } else {
        start_all();
        watch();
      }
    }
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      read_failures(results_->arenas, memory().slots()[k], results_->failures);
    }
    results_->failures.sort();
    results_->winner = winner();
    report_.publish(work_, plan_, *results_);
    return std::move(results_);
  }

 private:
  /// Processes in a row that may die before they come to a task: of themselves, for the next would,
  /// too; and by SIGKILL, which somebody sends, or the kernel for want of memory.
  static constexpr int most_idle_deaths = 3;
  static constexpr int most_idle_kills = 100;
  static constexpr std::int64_t stop_interval_ns = 50'000'000;

  /// What the caller knows of the process in a slot.
  struct life {
    child_process process{};
    retry again{};        // the attempts at the task that it, or its predecessor, was given again
    int idle_deaths = 0;  // of processes in a row that had not come to any task
    whereabouts stuck{};  // where its task was when it was given up
  };

  call_memory& memory() const noexcept { return results_->memory; }
  std::uint64_t winner() const noexcept {
    return memory().header().winner.load(std::memory_order_acquire);
  }

  void start_all() {
    warn_of_hazards();
    flush_output();
    // Until the workers ignore it: what SIGINT means is for the caller to decide.
    sigint_blocked const signals;
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) start(k, {}, signals);
  }

  /// Forks worker k. `left_over` is what its predecessor has left of a batch.
  void start(std::uint32_t k, task_range left_over, sigint_blocked const& signals) {
    worker_birth const birth{.work = work_,
                             .how = how_,
                             .plan = plan_,
                             .memory = memory(),
                             .resume = results_->resume.get(),
                             .threads = threads_,
                             .signals = signals,
                             .caller = ::getpid(),
                             .number = k,
                             .share = share_,
                             .probe_signal = probe_signal_,
                             .left_over = left_over,
                             .again = lives_[k].again};
    lives_[k].process = child_process::start([&] { live_as_worker(birth); });
  }

  /// Sleeps until a worker ends or a time is over, and sees to it, until all have ended. A worker
  /// whose failure or success ends the call ends itself.
  void watch() {
    per_worker<pollfd> ends(plan_.n_workers);
    auto left = plan_.n_workers;
    for (;;) {
      sleep(ends);
      for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
        auto const& process = lives_[k].process;
        bool const ended = process && (ends[k].revents != 0 || process.handle() < 0);
        if (ended && !goes_on(k)) --left;
      }
      if (left == 0) return;
      if (cancelled()) return end_all();
      if (how_.stop.stop_requested()) {
        end_all();
        return fates_.note_unfinished(ended_call::by_stop);
      }
      auto const now = deadline_ != INT64_MAX || limit_.is_set() ? nanoseconds_now() : 0;
      if (now >= deadline_) {
        end_all();
        return fates_.note_unfinished(ended_call::by_deadline);
      }
      for (std::uint32_t k = 0; limit_.is_set() && k != plan_.n_workers; ++k) {
        if (lives_[k].process && limit_.gives_up(memory().slots()[k], now)) end_stuck(k);
      }
    }
  }

  /// Waits in the kernel for whatever comes first.
  void sleep(per_worker<pollfd>& ends) {
    std::int64_t wake = INT64_MAX;
    bool const timed = limit_.is_set() || deadline_ != INT64_MAX || how_.stop.stop_possible();
    auto const now = timed ? nanoseconds_now() : 0;
    if (timed) wake = deadline_;
    if (how_.stop.stop_possible()) wake = std::min(wake, now + stop_interval_ns);
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      auto const& process = lives_[k].process;
      ends[k] = {process.handle(), POLLIN, 0};
      if (process && process.handle() < 0) wake = 0;  // somebody else has collected it
      if (process && limit_.is_set()) wake = std::min(wake, limit_.due(memory().slots()[k], now));
    }
    auto const rest = std::max<std::int64_t>(0, wake - now);
    timespec const patience{.tv_sec = rest / 1'000'000'000, .tv_nsec = rest % 1'000'000'000};
    if (::ppoll(ends.data(), ends.size(), wake == INT64_MAX ? nullptr : &patience, nullptr) < 0 &&
        errno != EINTR && errno != EAGAIN) {
      throw_errno("poll for the end of workers");
    }
  }

  /// A worker whose task has just been given up.
  void end_stuck(std::uint32_t k) {
    auto const& process = lives_[k].process;
    lives_[k].stuck = locate(process, memory().backtrace(k), probe_signal_);
    kill_tree(process);
  }

  /// Sees to the end of worker k.
  /// Returns: whether a replacement goes on in its place.
  bool goes_on(std::uint32_t k) {
    auto& slot = memory().slots()[k];
    auto& it = lives_[k];
    auto const pid = it.process.pid();
    auto const end = it.process.wait();
    report_.ended(k, slot, end);
    auto const phase = slot.phase.load(std::memory_order_acquire);
    if (phase == worker_phase::finished) return false;
    // Nothing was left to do but to leave; a hook that did not get to its end is a failure, though.
    if (phase == worker_phase::leaving && !how_.worker_exit) return false;

    auto const last = fates_.last_moment_of(k);
    auto left_over = last.left_over;
    bool const retired =
        phase == worker_phase::retired || (phase == worker_phase::retiring && !how_.worker_exit);
    if (last.was_running) {
      if (!again(k, last, pid, end)) {
        if (work_.stop_at_failure) cancel();
      } else {
        left_over.begin = it.again.tasks.begin;
      }
    }
    bool const killed = !end.known || end.signal == SIGKILL;
    if (last.was_running || last.ended || retired) {
      it.idle_deaths = 0;
    } else if (phase == worker_phase::leaving || phase == worker_phase::retiring ||
               ++it.idle_deaths >= (killed ? most_idle_kills : most_idle_deaths)) {
      // Nothing to blame, and nothing to be gained by another try.
      results_->failures.add(death_outside_tasks(pid, phase, end, memory().backtrace(k)));
      cancel();
    }
    bool const rest = left_over.begin < left_over.end;
    if (cancelled() || (!rest && fates_.all_claimed())) return false;
    replace(k, rest ? left_over : task_range{});
    return true;
  }

  /// Sees to the task that worker k has died of.
  /// Returns: whether it is tried again; if not, it has failed.
  bool again(std::uint32_t k, last_moment const& last, pid_t pid, process_end const& end) {
    auto& tries = lives_[k].again;
    auto const attempt = tries.attempt_at(last.task);
    if (attempt < how_.retries) {
      auto const begin = last.task / plan_.batch_tasks * plan_.batch_tasks;
      tries.tasks = work_.whole_batches ? task_range{begin, last.left_over.end}
                                        : task_range{last.task, last.task + 1};
      tries.attempt = attempt + 1;
      report_.retried();
      return true;
    }
    auto failure = fate_of(k, last, pid, end);
    failure.attempt = attempt;
    results_->failures.add(std::move(failure));
    return false;
  }

  task_failure fate_of(std::uint32_t k, last_moment const& last, pid_t pid,
                       process_end const& end) {
    if (last.given_up) {
      return timeout_of(last.task, pid, end, how_.timeout.value(), std::move(lives_[k].stuck));
    }
    bool const out_of_memory = end.signal == SIGKILL && oom_.has_killed();
    return death_of(last.task, pid, end, memory().backtrace(k), out_of_memory);
  }

  void replace(std::uint32_t k, task_range left_over) {
    auto& slot = memory().slots()[k];
    // What is left of the batch stays marked as this slot's, also while no worker runs it.
    slot.current.store(
        left_over.begin < left_over.end ? left_over.begin | not_begun : nothing_running,
        std::memory_order_relaxed);
    slot.phase.store(worker_phase::starting, std::memory_order_relaxed);
    memory().forget_backtrace(k);
    report_.replaced(k);
    flush_output();
    sigint_blocked const signals;
    start(k, left_over, signals);
  }

  void cancel() noexcept { memory().header().cancelled.store(true, std::memory_order_release); }
  bool cancelled() const noexcept {
    return memory().header().cancelled.load(std::memory_order_acquire);
  }

  /// Ends all workers, with what they have started. Those that had died by themselves still tell of
  /// what.
  void end_all() {
    for (auto& it : lives_) {
      if (it.process) kill_tree(it.process);
    }
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      auto& it = lives_[k];
      if (!it.process) continue;
      auto const pid = it.process.pid();
      auto const end = it.process.wait();
      auto& slot = memory().slots()[k];
      report_.ended(k, slot, end);
      if (slot.phase.load(std::memory_order_acquire) != worker_phase::working) continue;
      auto const last = fates_.last_moment_of(k);
      if (!last.was_running) continue;
      if (last.given_up || (end.known && end.signal != SIGKILL)) {
        auto failure = fate_of(k, last, pid, end);
        failure.attempt = it.again.attempt_at(last.task);
        results_->failures.add(std::move(failure));
      }
    }
  }

  job const& work_;
  options const& how_;
  dispatch_plan const& plan_;
  std::unique_ptr<fork_join_results> results_;
  fates fates_;
  task_limit limit_;
  std::int64_t deadline_;  // in steady_clock's nanoseconds
  int probe_signal_;
  int share_;  // of the machine's cores, for each worker
  thread_limits threads_;
  oom_counter oom_;
  per_worker<life> lives_;  // ends the processes, whatever is thrown
  call_report report_;
};

}  // namespace forkmap::detail
