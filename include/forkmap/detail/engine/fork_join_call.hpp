// A call with forked workers: share memory, fork, wait for and replace workers, collect.
// SPDX-License-Identifier: MIT
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include <forkmap/detail/crash/current_backtrace.hpp>
#include <forkmap/detail/engine/call_limits.hpp>
#include <forkmap/detail/engine/call_messages.hpp>
#include <forkmap/detail/engine/call_processes.hpp>
#include <forkmap/detail/engine/fork_join_results.hpp>
#include <forkmap/detail/engine/grace.hpp>
#include <forkmap/detail/engine/hazards.hpp>
#include <forkmap/detail/engine/reporting.hpp>
#include <forkmap/detail/engine/task_outcomes.hpp>
#include <forkmap/detail/engine/worker_exit.hpp>
#include <forkmap/detail/engine/worker_handle.hpp>
#include <forkmap/detail/job/option_checks.hpp>
#include <forkmap/detail/memory/per_worker.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/exits.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/plan/dispatch.hpp>
#include <forkmap/detail/worker/limits.hpp>
#include <forkmap/detail/worker/resources.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

/// One call, as its caller runs it.
class fork_join_call {
 public:
  fork_join_call(job const& this_job, options const& opts, dispatch_plan const& plan,
                 journal earlier, std::int64_t called_at)
      : job_(this_job),
        opts_(opts),
        plan_(plan),
        results_(new fork_join_results(this_job, plan, std::move(earlier), has_messages(opts))),
        owned_results_(results_),
        outcomes_(this_job, plan, *results_),
        limits_(opts, called_at),
        probe_signal_(limits_.task.is_set() ? unused_signal(processes_.end_signal()) : 0),
        share_(std::max(1, workers_for(-1) / static_cast<int>(plan.n_workers))),
        messages_(opts, memory(), plan.n_workers),
        workers_(plan.n_workers),
        report_(report_of_this_thread(), called_at) {}

  owner<call_results> run() {
    if (results_->restored != plan_.n_batches && winner() == 0) {
      if (auto const ended = limits_.reached(now()); ended != ended_call::by_nothing) {
        ended_ = ended;
      } else {
        start_all();
        watch();
        results_->outputs = messages_.deliver_last();
        processes_.end();
        deaths_.note();
      }
    }
    outcomes_.collect(ended_, opts_);
    results_->add_outputs_to_failures();
    results_->failures.remark(left_);
    report_.publish(job_, plan_, *results_, true);
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k)
      report_.replaced(k, workers_[k].replacements);
    return std::move(owned_results_);
  }

 private:
  call_memory const& memory() const noexcept { return results_->memory; }
  worker_state& state(std::uint32_t k) const noexcept { return memory().state(k); }
  /// The task that won a race, plus 1; 0 if there is none, or its result is not published.
  std::uint64_t winner() {
    auto const winner = job_.race ? memory().header().winner.load(std::memory_order_acquire) : 0;
    return results_->ranges.find(winner - 1) != nullptr ? winner : 0;
  }

  std::int64_t now() const noexcept { return limits_.exist() ? nanoseconds_now() : 0; }
  void start_all() {
    fork_between_hooks(opts_, [this] {
      warn_of_hazards();
      prepare_fork();
      // SIGINT is blocked until the workers ignore it: only the caller acts on it.
      sigint_blocked const signals;
      auto const from = nanoseconds_now();
      for (std::uint32_t k = 0; k != plan_.n_workers; ++k) start(k, {}, signals);
      processes_.begin((nanoseconds_now() - from) / plan_.n_workers);
    });
  }

  /// Forks worker k. `remaining`: the remaining tasks of its predecessor's batch.
  [[gnu::hot]] void start(std::uint32_t k, task_range remaining, sigint_blocked const& signals) {
    worker_birth const birth{.this_job = job_,
                             .opts = opts_,
                             .plan = plan_,
                             .memory = &results_->memory,
                             .resume = results_->resume ? &results_->resume : nullptr,
                             .threads = threads_,
                             .signals = &signals,
                             .number = k,
                             .process = ++n_started_,
                             .share = share_,
                             .probe_signal = probe_signal_,
                             .event = messages_.event(),
                             .files = &messages_.files(),
                             .remaining = remaining,
                             .again = workers_[k].again,
                             .present = nullptr,
                             .ties = processes_.ties_of(n_started_)};
    workers_[k].number = n_started_;
    workers_[k].born = now();
    workers_[k].kill_at = 0;
    workers_[k].process = child_process::start([&] { live_as_worker(birth); });
    processes_.started(workers_[k].process);
  }

  /// Waits for worker exits and time limits, and handles them, until all workers have ended. A
  /// worker whose failure or success ends the call exits by itself.
  void watch() {
    per_worker<pollfd> ends(plan_.n_workers + 1);
    ends[plan_.n_workers] = {messages_.event(), POLLIN, 0};
    auto n_running = plan_.n_workers;
    for (;;) {
      messages_.deliver();
      bool const has_event = sleep(ends);
      for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
        auto const& process = workers_[k].process;
        bool const ended =
            process && (ends[k].revents != 0 || (process.handle() < 0 && process.has_ended()));
        if (ended && !goes_on(k)) --n_running;
      }
      if (!has_event) deaths_.note();
      if (n_running == 0) return;
      if (cancelled()) return end_all();
      auto const time = now();
      if (auto const ended = limits_.reached(time); ended != ended_call::by_nothing) {
        ended_ = ended;
        return end_all();
      }
      for (std::uint32_t k = 0; limits_.task.is_set() && k != plan_.n_workers; ++k) {
        if (!workers_[k].process) continue;
        if (workers_[k].kill_at != 0 || workers_[k].is_over(limits_, state(k), time))
          end_timed_out(k, time);
      }
    }
  }

  /// Sleeps in the kernel until a worker ends or the next time limit.
  /// Returns: false if it slept until the time limit.
  bool sleep(per_worker<pollfd>& ends) {
    auto const time = now();
    auto wake = limits_.next_look(time);
    constexpr std::int64_t soon_ns = 2'000'000;  // a replacement runs its task by then
    if (deaths_.has_any()) wake = std::min(wake, time + soon_ns);
    wake = prepare_polls(ends, workers_, limits_, memory(), wake, time);
    return processes_.sleep(ends, time_until(messages_.next_look(wake, time), time));
  }

  /// Takes a backtrace of worker k, whose task has timed out, and kills it.
  void end_timed_out(std::uint32_t k, std::int64_t time) {
    auto& worker = workers_[k];
    if (worker.kill_at == 0)
      worker.stuck = locate(worker.process, worker.number, memory().backtrace(k), probe_signal_);
    if (!worker.is_grace_over(opts_.grace, time)) return;
    if (!processes_.kill(worker.process, worker.number)) throw_not_killed(worker.process.pid());
  }

  /// Collects worker k, which has ended, and replaces it if tasks remain.
  /// Returns: whether it was replaced.
  bool goes_on(std::uint32_t k) {
    auto& worker = workers_[k];
    auto const pid = worker.process.pid();
    auto exited = ended(k, pid, worker.process.wait());
    messages_.retire(k);
    auto const number = worker.number;
    auto const phase = phase_at_end(state(k), exited.end);
    if (phase == worker_phase::finished) return false;
    // All its tasks were done. Only an interrupted worker_exit would still be a failure.
    if (phase == worker_phase::leaving && !opts_.worker_exit) return false;
    auto const last = outcomes_.last_task_of(k);
    auto remaining = last.remaining;
    messages_.retire_output(k, last, job_.first_index);
    bool const retired =
        phase == worker_phase::retired || (phase == worker_phase::retiring && !opts_.worker_exit);
    bool const failed = last.was_running && !again(k, last);
    if (failed && failure_ends_call(job_, opts_, memory().header())) cancel();
    if (last.was_running && !failed) remaining.begin = worker.again.tasks.begin;
    if (last.was_running || last.ended || retired) {
      worker.idle_deaths = 0;
    } else if (phase == worker_phase::leaving || phase == worker_phase::retiring ||
               is_last_idle_death(worker.idle_deaths, exited.end, phase, opts_)) {
      // No task caused the end, and a replacement would end the same way.
      results_->failures.add(
          idle_failure(std::move(exited), phase, opts_, std::move(worker.stuck)));
      cancel();
    }
    bool const tasks_remain = remaining.begin < remaining.end;
    // The remaining tasks stay marked as worker k's. The task that killed it does not.
    outcomes_.leave(k, remaining);
    if (results_->ranges.contradict()) cancel();
    bool const goes_on = !cancelled() && (tasks_remain || !outcomes_.all_claimed());
    if (failed)
      deaths_.postpone({last, std::move(exited), std::move(worker.stuck), worker.again, false});
    if (goes_on) replace(k, tasks_remain ? remaining : task_range{});
    // After the replacement has been forked, so that it does not wait for this.
    auto const refused = retired ? 0 : processes_.end_started_by(number);
    if (failed) deaths_.left(refused);
    return goes_on;
  }

  ended_process ended(std::uint32_t k, pid_t pid, process_end const& end) {
    report_.ended(state(k), end);
    threads_.forget(pid);
    return {pid, end, crash_report::of(workers_[k].number, end, memory().backtrace(k))};
  }

  /// Whether the task that killed worker k is retried; if not, it has failed.
  bool again(std::uint32_t k, last_task const& last) {
    if (!try_again(workers_[k].again, last, job_, plan_, opts_)) return false;
    outcomes_.note_retry(k, workers_[k].again.tasks);
    report_.retried();
    return true;
  }

  void replace(std::uint32_t k, task_range remaining) {
    state(k).phase.store(worker_phase::starting, std::memory_order_relaxed);
    workers_[k].pulse = {};
    ++workers_[k].replacements;
    fork_between_hooks(opts_, [&] {
      // Only a hook and other threads can have printed anything since the workers were started.
      if (opts_.before_fork || __libc_single_threaded == 0) prepare_fork();
      sigint_blocked const signals;
      start(k, remaining, signals);
    });
  }
  void cancel() noexcept { memory().header().cancel(); }
  bool cancelled() const noexcept { return memory().header().is_cancelled(); }
  /// Kills all workers and what they have started. Earlier crashes are still reported.
  void end_all() {
    give_grace(workers_, opts_.grace, processes_, messages_);
    pid_t refused = 0;
    for (auto& worker : workers_) {
      if (worker.process) processes_.kill(worker.process, worker.number);
    }
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      auto& worker = workers_[k];
      if (!worker.process) continue;
      process_end end;
      auto const pid = worker.process.pid();
      if (!processes_.end(worker.process, worker.number, end)) {
        refused = pid;
        continue;
      }
      auto exited = ended(k, pid, end);
      auto const last = outcomes_.last_task_of(k);
      messages_.retire_output(k, last, job_.first_index);
      if (!last.was_running) continue;
      if (last.timed_out || (exited.end.known && exited.end.signal != SIGKILL)) {
        outcomes_.leave(k, last.remaining);
        deaths_.note({last, std::move(exited), std::move(worker.stuck), worker.again, false});
      } else {
        outcomes_.was_running(last.task);
      }
    }
    auto const refused_started = processes_.end_all_started();
    left_ = refused != 0 ? text_of_left("a worker (pid ", refused)
                         : text_of_left("a process that a task has started (pid ", refused_started);
  }

  job const& job_;
  options const& opts_;
  dispatch_plan const& plan_;
  fork_join_results* results_;
  owner<call_results> owned_results_;
  task_outcomes outcomes_;
  call_limits limits_;
  call_processes processes_;
  int probe_signal_;
  int share_;  // cores of the machine for each worker
  thread_limits threads_{opts_.inner_threads, share_, this_process.threads};
  death_notes deaths_{job_, opts_, results_->failures};
  ended_call ended_ = ended_call::by_nothing;  // what has ended the call before its tasks ended
  std::string left_;                           // text about a process that could not be killed
  std::uint32_t n_started_ = 0;
  call_messages messages_;
  per_worker<worker_handle> workers_;  // its destructor ends the processes after an exception
  call_report report_;
};

}  // namespace forkmap::detail
