// The setup of a worker process: its ties to the caller, its inherited state, its resource limits.
// SPDX-License-Identifier: MIT
#pragma once

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include <forkmap/detail/crash/fault_handler.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/journal/journal.hpp>
#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/memory/prefault.hpp>
#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/cpu.hpp>
#include <forkmap/detail/os/file.hpp>
#include <forkmap/detail/os/marked_processes.hpp>
#include <forkmap/detail/os/output_files.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/os/process_mark.hpp>
#include <forkmap/detail/os/thread_limits.hpp>
#include <forkmap/detail/plan/dispatch.hpp>
#include <forkmap/options.hpp>
#include <forkmap/this_task.hpp>

namespace forkmap::detail {

// The ties of a worker to its parent: the parent's end, and Ctrl-C.
//
// The kernel signals a worker when its parent ends. SIGKILL would kill the worker, but not the
// programs that its task has started. So the signal is one that the program does not use, and its
// handler kills those programs first. The price: a task that blocks all signals, or that changes
// its user or group (the kernel then clears the parent-death signal), does not receive it. Such
// workers are killed by a process that outlives the caller: a pool's fork server, or a call's
// guardian (engine/call_processes.hpp), which every call has that takes longer than a short delay.
//
// Only the caller acts on Ctrl-C. A worker has a SIGINT handler that does nothing, unless the
// caller ignores SIGINT; then the worker ignores it, too. So programs that tasks start get the
// caller's disposition: exec resets a handler to the default and keeps an ignored signal ignored.
// System calls of tasks are restarted (SA_RESTART), except those that are never restarted after a
// handler: sleeps, poll, select and sigsuspend return EINTR.

/// What a worker needs to follow its parent.
struct parent_ties {
  pid_t parent = 0;
  int end_signal = 0;  // sent when the parent ends; 0: SIGKILL, as the program uses all others
  process_mark mark = no_mark;  // of the worker
};

/// Names a worker in ps and top: "forkmap w3". Tasks may name it anew.
inline void name_worker(std::uint32_t number) noexcept {
  char name[16] = "forkmap w";  // at most 15 characters
  auto* at = name + sizeof "forkmap w" - 1;
  for (std::uint32_t power = 100'000; power != 0; power /= 10) {
    if (number >= power || power == 1) *at++ = static_cast<char>('0' + number / power % 10);
  }
  bound().syscall(SYS_prctl, static_cast<long>(PR_SET_NAME), name, 0L, 0L, 0L);
}

/// The signal that this process's workers get when it ends. In a worker, it is the same signal as
/// the one that the worker gets when its own parent ends.
inline int signal_of_end() noexcept {
  if (this_process.end_signal != 0) return this_process.end_signal;
  return unused_signal();
}

/// The handler of end_signal: the parent has ended, or another process has sent the signal, whose
/// default action would have ended this process, too.
inline void on_end_of_parent(int signal, siginfo_t*, void*) {
  auto const saved_errno = errno;
  if (is_this_process()) {
    constexpr std::int64_t patience_ns = 300'000'000;
    static_cast<void>(kill_marked(this_process.mark, ~process_mark{0}, patience_ns));
  }
  struct sigaction usual{};
  usual.sa_handler = SIG_DFL;
  bound().sigaction(signal, &usual, nullptr);
  bound().syscall(SYS_kill, bound().syscall(SYS_getpid), static_cast<long>(signal));
  errno = saved_errno;  // the signal is delivered when this handler returns
}

/// Asks the kernel to signal this process when its parent ends. Call it again after code that may
/// have cleared the request. Exits if the parent has already ended.
[[gnu::hot]] inline void watch_parent(pid_t parent, int end_signal) noexcept {
  bound().syscall(SYS_prctl, static_cast<long>(PR_SET_PDEATHSIG),
                  static_cast<long>(end_signal != 0 ? end_signal : SIGKILL), 0L, 0L, 0L);
  // The parent may have ended before prctl. 0: the parent is in another PID namespace.
  auto const now = static_cast<pid_t>(bound().syscall(SYS_getppid));
  if (now != parent && now != 0) exit_now(1);
}

/// Call in a new worker. Precondition: SIGINT and end_signal are blocked.
/// The kernel sends the signal when the *thread* that forked ends. That thread waits for the call,
/// so it ends during the call only if the parent does.
[[gnu::hot]] inline void follow_parent(parent_ties const& ties) noexcept {
  this_process.mark = ties.mark;
  this_process.end_signal = ties.end_signal;
  // Without a mark, orphans can be found only if this process stays their ancestor.
  if (!wear_mark(ties.mark)) {
    this_process.mark = no_mark;
    bound().syscall(SYS_prctl, static_cast<long>(PR_SET_CHILD_SUBREAPER), 1L, 0L, 0L, 0L);
  }
  if (ties.end_signal != 0) {
    struct sigaction action{};
    action.sa_sigaction = on_end_of_parent;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    bound().sigaction(ties.end_signal, &action, nullptr);
  }
  watch_parent(ties.parent, ties.end_signal);
  struct sigaction nothing{};
  struct sigaction callers{};
  nothing.sa_handler = [](int) {};
  nothing.sa_flags = SA_RESTART;
  bound().sigaction(SIGINT, &nothing, &callers);
  if ((callers.sa_flags & SA_SIGINFO) == 0 && callers.sa_handler == SIG_IGN)
    bound().sigaction(SIGINT, &callers, nullptr);
}

// The state that a worker inherits, all of it in the caller's memory.

/// A retry of the tasks of a range, and the number of the attempt.
struct retry {
  task_range tasks{};
  int attempt = 0;

  int attempt_at(std::uint64_t task) const noexcept {
    return task >= tasks.begin && task < tasks.end ? attempt : 0;
  }
};

class task_output;

struct worker_birth {
  job const& this_job;
  options const& opts;
  dispatch_plan const& plan;
  call_memory const* memory;      // the caller's view; in a worker, the worker's own view
  journal const* resume;          // null: no journal is kept
  thread_limits const& threads;   // for libraries that have threads of their own
  sigint_blocked const* signals;  // constructed before the fork
  std::uint32_t number;           // of the worker, from 0; its replacements have the same
  std::uint32_t process;          // among the processes of its call, from 1
  int share;                      // in cores of the machine
  int probe_signal;               // asks a worker for a backtrace; 0: none
  int event = -1;                 // raised when there are messages for the caller; -1: no messages
  output_files const* files = nullptr;  // for what tasks print
  task_output* output = nullptr;  // in a worker: redirects what tasks print; null: nothing does
  task_range remaining;           // the remaining tasks of a predecessor's batch, to be run first
  retry again;
  std::uint64_t call = 0;  // the call's number, part of all that is published
  // The pages of the call's memory that earlier calls have made present.
  present_blocks* present = nullptr;
  present_blocks* common_present = nullptr;
  parent_ties ties{};
};

/// Sets the members of a frame that differ from one call to the next.
inline void begin_frame(task_frame& frame, worker_birth const& birth) noexcept {
  frame.first_index = birth.this_job.first_index;
  frame.outer = birth.this_job.outer;
  frame.attempt = birth.again.attempt;
  frame.retried_begin = birth.again.tasks.begin;
  frame.retried_end = birth.again.tasks.end;
  if (frame.random) frame.random->made_for = no_task;  // it was made in another call
}

// Resource limits of a worker.

/// Pins this process to core k modulo n of the n cores that it may use.
inline void pin_to_core(std::uint32_t k) {
  cpu_mask usable;
  auto const n = static_cast<std::uint32_t>(usable.count());
  if (n == 0) throw_errno("sched_getaffinity of a worker");
  if (!usable.pin_to(static_cast<int>(k % n))) throw_errno("sched_setaffinity of a worker");
}

/// Limits the address space of this process to its current size plus `bytes`.
inline void limit_memory(std::size_t bytes) {
  // The first number in statm is the address space in pages.
  auto const now = std::strtoull(read_text_file("/proc/self/statm").c_str(), nullptr, 10) *
                   static_cast<unsigned long long>(::sysconf(_SC_PAGESIZE));
  if (now == 0) throw_errno("read /proc/self/statm for the memory limit of a worker");
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0) throw_errno("getrlimit(RLIMIT_AS) of a worker");
  rlim_t most = 0;
  if (__builtin_add_overflow(now, bytes, &most)) return;
  limit.rlim_cur = std::min(most, limit.rlim_max);
  if (::setrlimit(RLIMIT_AS, &limit) != 0) throw_errno("setrlimit(RLIMIT_AS) of a worker");
}

/// Applies the options' resource limits in new worker `number`.
/// Errors: std::system_error naming the call that failed.
[[gnu::hot]] inline void apply_budget(options const& opts, thread_limits const& threads,
                                      std::uint32_t number) {
  this_process.threads = threads.apply();
  if (opts.pin) pin_to_core(number);
  if (opts.memory_limit != 0) limit_memory(opts.memory_limit);
}

/// The shortest call whose memory is measured: measuring takes up to a few milliseconds.
inline constexpr std::chrono::nanoseconds worth_measuring{50'000'000};

/// Notes the worker's unshared memory at its end, if it ran long enough that the cost does not
/// matter.
inline void note_unshared_memory(worker_birth const& birth, std::int64_t lived_ns) noexcept {
  if (lived_ns < worth_measuring.count()) return;
  try {
    auto const text = read_text_file("/proc/self/smaps_rollup");
    constexpr char field[] = "Private_Dirty:";
    auto const at = text.find(field);
    if (at == text.npos) return;
    auto const kilobytes = std::strtoull(text.c_str() + at + sizeof field - 1, nullptr, 10);
    birth.memory->unshared(birth.number).fetch_add(kilobytes * 1024, std::memory_order_relaxed);
  } catch (...) {  // out of memory for the text: report nothing
  }
}

/// Whether options::max_failures applies to a call.
inline bool limits_failures(job const& this_job, options const& opts) noexcept {
  return opts.max_failures != 0 && !this_job.stop_at_failure && !this_job.race;
}

/// Counts the failure of a task.
/// Returns: whether it ends the call.
inline bool failure_ends_call(job const& this_job, options const& opts,
                              call_header& header) noexcept {
  if (!limits_failures(this_job, opts)) return this_job.stop_at_failure;
  auto const before = header.n_failures.fetch_add(1, std::memory_order_relaxed);
  return before + 1 >= static_cast<std::uint32_t>(opts.max_failures);
}

}  // namespace forkmap::detail
