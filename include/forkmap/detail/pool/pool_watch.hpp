// The events that a pool's supervisor waits for, and how it handles them.
// SPDX-License-Identifier: MIT
#pragma once

#include <poll.h>
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>
#include <vector>

#include <forkmap/detail/engine/kept_output.hpp>
#include <forkmap/detail/engine/worker_exit.hpp>
#include <forkmap/detail/messages/inbox.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/oom.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/pool/call_slot.hpp>
#include <forkmap/detail/pool/pool_channel.hpp>
#include <forkmap/detail/pool/pool_processes.hpp>
#include <forkmap/detail/pool/setup_failure.hpp>
#include <forkmap/detail/worker/limits.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

// The events that wake a pool's supervisor: its eventfd, and the ends of the pool's processes.

class pool_events {
 public:
  /// Sets the events to wait for, of the processes as they are now. Needs the supervisor's
  /// mutex.
  template <class Lazy> void follow(pool_processes<Lazy> const& processes, bool is_broken) {
    is_broken_ = is_broken;
    events_.assign(
        {{processes.event(), POLLIN, 0}, {is_broken ? -1 : processes.server_handle(), POLLIN, 0}});
    have_handles_ = is_broken || processes.server_handle() >= 0;
    for (std::uint32_t k = 0; k != processes.size(); ++k) {
      auto const& process = processes.process(k);
      if (process && process.handle() < 0) have_handles_ = false;
      events_.push_back({process.handle(), POLLIN, 0});
    }
  }

  /// Sleeps until an event comes, but at most that many nanoseconds (INT64_MAX: no limit).
  /// Returns: whether an event has come.
  /// Errors: std::system_error naming the system call if it fails, except by a signal or EAGAIN;
  ///   EBADF if the program has closed the pool's descriptors.
  bool sleep(std::int64_t most_ns) {
    constexpr std::int64_t look_again_ns = 2'000'000;
    if (!have_handles_) most_ns = std::min(most_ns, look_again_ns);
    timespec const patience{.tv_sec = most_ns / 1'000'000'000, .tv_nsec = most_ns % 1'000'000'000};
    constexpr char name[] = "poll for the ends of a pool's workers";
    auto const n = ::ppoll(events_.data(), events_.size(),
                           most_ns == INT64_MAX ? nullptr : &patience, nullptr);
    if (n < 0) {
      if (errno != EINTR && errno != EAGAIN) throw_errno(name);
      return false;
    }
    if ((events_[0].revents & POLLNVAL) != 0)
      throw_system_error(EBADF, name, "(did the program close the pool's descriptors?)");
    return n != 0;
  }

  template <class Lazy> bool server_has_ended(pool_processes<Lazy> const& processes) const {
    if (is_broken_) return false;
    return events_[1].fd >= 0 ? events_[1].revents != 0 : processes.server_has_ended();
  }
  template <class Lazy> bool has_ended(pool_processes<Lazy>& processes, std::uint32_t k) const {
    if (!processes.worker(k).process) return false;
    return events_[2 + k].revents != 0 || (!is_broken_ && processes.has_ended(k));
  }

 private:
  std::vector<pollfd> events_{};
  bool is_broken_ = false;
  bool have_handles_ = true;  // false: a process has no pidfd, because the system has none
};

/// Keeps the messages that worker k, which has ended, has sent in any open call.
inline void retire_messages(std::vector<pool_call*> const& calls, std::uint32_t k) {
  for (auto const* call : calls) {
    if (call != nullptr && call->inbox != nullptr) call->inbox->retire(k);
  }
}

// The time limits of a pool's calls and of their tasks: when to check the next one, and which
// workers to kill: those whose task has timed out, and those whose call was cancelled.

/// When to check the next limit, and whether open calls have ended: a task may have overwritten the
/// memory that announces it.
/// Returns: the time on the steady clock, in nanoseconds; INT64_MAX if no call is open.
template <class Lazy>
std::int64_t next_look(std::vector<pool_call*> const& calls, pool_processes<Lazy>& processes,
                       std::int64_t time) noexcept {
  constexpr std::int64_t look_again_ns = 200'000'000;
  auto next = INT64_MAX;
  for (auto const* call : calls) {
    if (call != nullptr) next = time + look_again_ns;
  }
  for (std::uint32_t k = 0; k != processes.size(); ++k) {
    auto const& worker = processes.worker(k);
    if (worker.process && worker.kill_at != 0 && worker.killed_at == 0)
      next = std::min(next, worker.kill_at);
  }
  for (auto const* call : calls) {
    if (call == nullptr || !call->limits.exist() || call->is_ended) continue;
    next = std::min(next, call->limits.next_look(time));
    if (!call->limits.task.is_set() || call->cancelled()) continue;
    for (std::uint32_t k = 0; k != processes.size(); ++k) {
      auto& worker = processes.worker(k);
      if (worker.process) {
        auto const& phase = processes.control().place(k).phase;
        next = std::min(next, call->limits.start.due(phase, worker.born));
      }
      if (!processes.serves(k, call->place)) {
        next = std::min(next, call->limits.task.limit_from(time));
        continue;
      }
      auto const& state = call->memory.state(k);
      next = std::min({next, call->limits.task.due(state, time),
                       worker.pulse.due(state, call->limits.task, time)});
    }
  }
  return next;
}

/// Kills workers whose task of that call has timed out, and workers whose start has timed out.
template <class Lazy>
void end_timed_out_tasks(pool_call& call, pool_processes<Lazy>& processes, std::int64_t time) {
  for (std::uint32_t k = 0; k != processes.size(); ++k) {
    auto& worker = processes.worker(k);
    if (worker.process &&
        call.limits.start.has_timed_out(processes.control().place(k).phase, worker.born, time)) {
      worker.stuck = processes.locate(k);
      processes.end_soon(k);
    }
    if (!processes.serves(k, call.place)) continue;
    auto& state = call.memory.state(k);
    if (!call.limits.task.has_timed_out(state, time) &&
        !processes.worker(k).pulse.is_stuck(state, call.limits.task, time)) {
      continue;
    }
    processes.worker(k).stuck = processes.locate(k);
    processes.end_soon(k);
  }
}

/// Kills workers that still run tasks of a call that a worker has cancelled. A worker that came in
/// vain leaves by itself, and may have output to print.
template <class Lazy> void end_tasks_of(pool_call& call, pool_processes<Lazy>& processes) {
  processes.control().close(call.place);
  bool const all_claimed = call.all_claimed();
  for (std::uint32_t k = 0; k != processes.size(); ++k) {
    bool const runs = call.memory.state(k).current.load() != nothing_running;
    if (runs || !all_claimed) processes.end(k, call.place);
  }
}

// Workers that do not serve the call that waits for them, because a task has overwritten the claim
// table or the state of a worker.

/// A worker that has no work according to its state is suspected after this time, in nanoseconds.
inline constexpr std::int64_t patience_with_idle_ns = 3'000'000'000;

/// The time since the last look at a call. Limited, because the machine may have been suspended.
inline std::int64_t time_since_look(pool_call& call, std::int64_t now) noexcept {
  constexpr std::int64_t longest_ns = 500'000'000;
  auto const last = std::exchange(call.looked_at, now);
  return last == 0 ? 0 : std::min(now - last, longest_ns);
}

/// Whether worker k could serve a call and does not, if its state is right. `calls`: the open ones.
template <class Lazy>
bool looks_idle(pool_processes<Lazy> const& processes, std::vector<pool_call*> const& calls,
                std::uint32_t k, options const& opts) noexcept {
  if (!processes.process(k)) return false;
  auto const& state = processes.control().place(k);
  auto const serving = state.serving.load();
  if (serving != 0 && (serving > most_calls || calls[serving - 1] != nullptr)) return false;
  auto const phase = state.phase.load();
  return phase == worker_phase::working || phase > worker_phase::late ||
         (phase == worker_phase::starting && !opts.worker_init);
}

/// Looks at a call that no worker serves although not all of its batches seem to be claimed. Workers
/// that look idle have been woken for it. If they do not come, they are killed, and others start.
/// Returns: whether to end the call, because new workers do not claim its batches either.
template <class Lazy>
bool is_neglected(pool_call& call, std::vector<pool_call*> const& calls,
                  pool_processes<Lazy>& processes, options const& opts, std::int64_t now) {
  if (call.plan.one_each) return false;  // it waits for workers of other calls
  constexpr std::int64_t longest_ns = 10'000'000'000;
  bool has_region = false;
  bool any_idle = false;
  for (std::uint32_t k = 0; k != processes.size(); ++k) {
    any_idle = any_idle || looks_idle(processes, calls, k, opts);
    has_region =
        has_region || (k < call.plan.n_workers && call.memory.hints()[k].region_end.load() != 0);
  }
  auto const passed = time_since_look(call, now);
  if (any_idle) call.neglected_ns += passed;
  // Without a region, the hints were set to zero: new workers would not help.
  if (call.neglected_ns > (has_region ? longest_ns : longest_ns / 10)) return true;
  if (call.neglected_ns > patience_with_idle_ns && !std::exchange(call.has_new_workers, true)) {
    for (std::uint32_t k = 0; k != processes.size(); ++k) {
      if (looks_idle(processes, calls, k, opts)) processes.kill(k);
    }
  }
  return false;
}

/// Kills workers that seem to serve a call for some time and have not begun to: a task has written
/// the call's number over that of another one.
template <class Lazy>
void end_pretenders(pool_call& call, pool_processes<Lazy>& processes, std::int64_t now) {
  auto const pretends = [&](std::uint32_t k) {
    return processes.serves(k, call.place) &&
           (k >= call.plan.n_workers || call.memory.state(k).began.load() == 0);
  };
  bool any = false;
  for (std::uint32_t k = 0; k != processes.size(); ++k) any = any || pretends(k);
  auto const passed = time_since_look(call, now);
  call.pretended_ns = any ? call.pretended_ns + passed : 0;
  if (call.pretended_ns <= patience_with_idle_ns) return;
  for (std::uint32_t k = 0; k != processes.size(); ++k) {
    if (pretends(k)) processes.kill(k);
  }
}

// The consequences of a pool worker's end for the call that it served.

/// Handles the end of worker k for the call that it served: notes its failure, or a retry.
/// Returns: whether the replacement runs the remaining tasks of its batch.
template <class Lazy>
bool settle(pool_call& call, std::uint32_t k, ended_process ended, worker_phase phase,
            pool_processes<Lazy>& processes, options const& opts, oom_counter const& oom_kills) {
  auto& worker = processes.worker(k);
  if (std::exchange(worker.call, call.number) != call.number) worker.again = {};
  call.report.ended(call.memory.state(k), ended.end);
  auto const last = call.outcomes.last_task_of(k);
  auto remaining = last.remaining;
  if (last.was_running || last.ended)
    retire_output(processes.outputs(), opts.output, k, call.memory,
                  last.task + call.this_job.first_index, call.inbox);
  bool const in_setup = processes.control().place(k).in_setup.load() != 0;
  if (in_setup && !last.was_running && !last.ended && !call.cancelled()) {
    call.failures.add(failure_in_setup(std::move(ended), worker, opts));
    call.cancel();
    return false;
  }
  if (last.was_running || last.ended || phase == worker_phase::retired ||
      ended.end.exit_status == status_of_damaged) {
    worker.idle_deaths = 0;
  } else if (!call.cancelled() && is_last_idle_death(worker.idle_deaths, ended.end, phase, opts)) {
    // No task is to blame, and one more replacement would end the same way.
    call.failures.add(idle_failure(std::move(ended), phase, opts, std::move(worker.stuck)));
    call.cancel();
    return false;
  }
  bool const is_retried = last.was_running && !call.cancelled() &&
                          try_again(worker.again, last, call.this_job, call.plan, opts);
  if (is_retried) {
    call.report.retried();
    call.outcomes.note_retry(k, worker.again.tasks);
    remaining.begin = worker.again.tasks.begin;
  }
  // Ending a call kills its workers. That is no failure of a task, unless the worker had died on
  // its own.
  bool const own_death =
      !call.cancelled() || last.timed_out || (ended.end.known && ended.end.signal != SIGKILL);
  if (last.was_running && !is_retried && own_death) {
    bool const oom = is_out_of_memory(last, ended.end, oom_kills);
    call.failures.add(failure_after(
        {last, std::move(ended), std::move(worker.stuck), worker.again, oom, worker.left},
        call.this_job, opts));
    if (failure_ends_call(call.this_job, opts, call.memory.header())) call.cancel();
  }
  // A task that has a failure, or is retried, is no longer running. A task that the end of the call
  // has killed was running: task_outcomes::note_unfinished reports it.
  if (!last.was_running || is_retried || own_death)
    call.outcomes.leave(k, remaining);
  else
    call.outcomes.was_running(last.task);
  if (call.ranges.contradict()) call.cancel();
  if (call.cancelled() || remaining.begin >= remaining.end) return false;
  processes.inherit(k, call.place, remaining, worker.again);
  return true;
}

}  // namespace forkmap::detail
