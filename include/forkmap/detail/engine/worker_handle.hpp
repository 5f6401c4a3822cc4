// The caller's handles of workers, for one call and for a pool.
// SPDX-License-Identifier: MIT
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <string>

#include <forkmap/detail/crash/current_backtrace.hpp>
#include <forkmap/detail/engine/call_limits.hpp>
#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/memory/per_worker.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/worker/limits.hpp>
#include <forkmap/detail/worker/setup.hpp>

namespace forkmap::detail {

/// A worker process, which may get some time to end by itself before it is killed.
struct graceful_process {
  child_process process{};
  std::int64_t kill_at = 0;  // the end of options::grace; 0: it has not begun

  /// Whether it may be killed now: options::grace is over, or is not set. Asks it to end first.
  bool is_grace_over(time_limit grace, std::int64_t now) noexcept {
    if (!grace.is_set()) return true;
    if (kill_at == 0) {
      kill_at = task_limit::saturated_sum(now, grace.value().count());
      process.send(SIGTERM);
    }
    return now >= kill_at;
  }
};

// The caller's handle of a worker of one call.

struct worker_handle : graceful_process {
  std::uint32_t number = 0;  // among the processes of this call, from 1
  retry again{};             // the retry of a task that it, or its predecessor, was given
  int replacements = 0;
  int idle_deaths = 0;  // processes in a row that ended before they ran a task
  std::int64_t born = 0;
  current_backtrace stuck{};  // of its task when it timed out
  task_pulse pulse{};

  /// Prepares to poll for its end.
  /// Returns: the time at which to look at it at the latest; 0 if it has ended.
  std::int64_t prepare_poll(pollfd& end, call_limits const& limits, worker_state const& state,
                            std::int64_t now) {
    end = {process.handle(), POLLIN, 0};
    if (!process) return INT64_MAX;
    constexpr std::int64_t look_again_ns = 1'000'000;  // for a process without a descriptor to poll
    auto wake = limits.task.is_set() ? due(limits, state, now) : INT64_MAX;
    if (kill_at != 0) wake = kill_at;
    if (process.handle() < 0) wake = process.has_ended() ? 0 : std::min(wake, now + look_again_ns);
    return wake;
  }

  /// The earliest time at which its task or its start could time out.
  std::int64_t due(call_limits const& limits, worker_state const& state, std::int64_t now) {
    return std::min({limits.task.due(state, now), limits.start.due(state.phase, born),
                     starts(state) ? INT64_MAX : pulse.due(state, limits.task, now)});
  }
  /// Whether its task or its start has timed out. Marks it as timed out.
  bool is_over(call_limits const& limits, worker_state& state, std::int64_t now) {
    if (limits.task.has_timed_out(state, now) || limits.start.has_timed_out(state.phase, born, now))
      return true;
    return !starts(state) && pulse.is_stuck(state, limits.task, now);
  }

 private:
  static bool starts(worker_state const& state) noexcept {
    return state.phase.load(std::memory_order_relaxed) == worker_phase::starting;
  }
};

/// The phase in which a worker has ended. If its state is inconsistent, a task has overwritten it,
/// and the phase is `working`.
/// Errors: std::system_error if the worker could not map its memory.
inline worker_phase phase_at_end(worker_state const& state, process_end const& end) {
  auto const phase = state.phase.load(std::memory_order_acquire);
  auto const error = state.start_error.load(std::memory_order_relaxed);
  if (error != 0 && phase == worker_phase::starting)
    throw_system_error(error, "mmap of shared memory in a worker");
  bool const in_order = !end.known || (end.signal == 0 && end.exit_status == 0);
  bool const credible =
      phase <= worker_phase::late && (phase != worker_phase::finished || in_order);
  return credible ? phase : worker_phase::working;
}

/// Prepares to poll for the ends of all workers.
/// Returns: the time at which to look at the latest: `wake`, or earlier.
inline std::int64_t prepare_polls(per_worker<pollfd>& ends, per_worker<worker_handle>& workers,
                                  call_limits const& limits, call_memory const& memory,
                                  std::int64_t wake, std::int64_t now) {
  for (std::uint32_t k = 0; k != workers.size(); ++k)
    wake = std::min(wake, workers[k].prepare_poll(ends[k], limits, memory.state(k), now));
  return wake;
}
/// The nanoseconds until a time; INT64_MAX: no limit.
inline std::int64_t time_until(std::int64_t time, std::int64_t now) noexcept {
  return time == INT64_MAX ? time : std::max<std::int64_t>(0, time - now);
}

[[noreturn]] inline void throw_not_killed(pid_t pid) {
  throw_system_error(EPERM,
                     "kill of a worker whose task has timed out (the worker is left running),",
                     "pid " + std::to_string(pid));
}

// The caller's handle of a pool's worker.

struct pool_worker_handle : graceful_process {
  std::uint32_t number = 0;
  std::uint64_t call = 0;  // the call that `again` is for
  retry again{};
  int idle_deaths = 0;  // processes in a row that ended soon after they had started
  std::int64_t born = 0;
  current_backtrace stuck{};   // of its task when it timed out
  task_pulse pulse{};          // in the call that it serves
  std::int64_t killed_at = 0;  // 0: it was not killed
  bool refused = false;        // the worker could not be killed
  /// Whether its grace is over, and it was not killed.
  bool must_be_killed(std::int64_t now) const noexcept {
    return kill_at != 0 && killed_at == 0 && now >= kill_at;
  }

  pid_t left = 0;  // a process that it had started and that could not be killed; 0: none
};

/// How long a worker of a closed pool may take to end, in nanoseconds. No call is open, so that it
/// soon leaves unless a task has damaged its state. Only what runs at its start and at its end may
/// take longer.
inline std::int64_t longest_end(std::atomic<worker_phase> const& phase, bool has_init) noexcept {
  constexpr std::int64_t at_work_ns = 30'000'000'000;
  auto const seen = phase.load();
  bool const at_hooks = seen == worker_phase::leaving || seen == worker_phase::retiring ||
                        (seen == worker_phase::starting && has_init);
  return at_hooks ? 20 * at_work_ns : at_work_ns;
}

}  // namespace forkmap::detail
