// A timed-out worker's current backtrace, and killing the worker with its descendants.
// SPDX-License-Identifier: MIT
#pragma once

#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <forkmap/detail/crash/backtrace.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/file.hpp>
#include <forkmap/detail/os/marked_processes.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/os/process_mark.hpp>

namespace forkmap::detail {

// Descendants of a process, where they carry no mark (os/process_mark.hpp).

/// Kills all descendants of a process, but not the process itself. `parent` must be a subreaper
/// (PR_SET_CHILD_SUBREAPER), so that no descendant escapes when its own parent exits. It is stopped
/// first, so that it starts no more processes and reaps none: their pids are not reused.
/// Cost: two or more passes over all processes of the machine; half a second at most.
inline void kill_descendants(child_process const& parent) noexcept {
  constexpr std::int64_t patience_ns = 500'000'000;
  auto const until = nanoseconds_now() + patience_ns;
  parent.send(SIGSTOP);
  int empty_passes = 0;
  constexpr int enough_passes = 2;  // the next pass sees what was started during this one
  while (empty_passes != enough_passes && nanoseconds_now() < until) {
    int living = 0;
    for_each_numbered("/proc", [&](pid_t pid, long) {
      auto const stat = process_stat::of(pid);
      if (stat.parent != parent.pid() || !stat.is_alive()) return;
      // When this process has exited, its children become children of `parent`.
      living += ::kill(pid, SIGKILL) == 0 ? 1 : 0;
    });
    empty_passes = living == 0 ? empty_passes + 1 : 0;
    timespec const pause{.tv_sec = 0, .tv_nsec = living == 0 ? 0 : 500'000};
    ::nanosleep(&pause, nullptr);
  }
}

// A worker whose task has timed out: its backtrace, and its end.

/// Where a process is running.
struct current_backtrace {
  std::vector<std::uintptr_t> frames{};  // innermost first
  std::string text{};                    // further details, or why there are no frames
};

/// Sleeps until the backtrace is there, or the time is over.
inline void wait_for_backtrace(raw_backtrace& from, std::uint32_t whose,
                               long nanoseconds) noexcept {
  timespec const patience{.tv_sec = 0, .tv_nsec = nanoseconds};
  auto const seen = from.whose.load(std::memory_order_acquire);
  // May return early: the caller checks again.
  if (seen != whose) ::syscall(SYS_futex, &from.whose, FUTEX_WAIT, seen, &patience, nullptr, 0);
}

/// Whether the first thread of a process blocks a signal. `status`: the text of /proc/<pid>/status.
inline bool blocks_signal(std::string const& status, int signal) {
  constexpr char field[] = "\nSigBlk:\t";
  auto const at = status.find(field);
  if (at == status.npos) return false;
  auto const mask = std::strtoull(status.c_str() + at + sizeof field - 1, nullptr, 16);
  return (mask >> static_cast<unsigned>(signal - 1) & 1U) != 0;
}

/// What /proc says about a process that does not respond.
/// Source: Linux, proc(5): stat, wchan, syscall.
inline current_backtrace look_at(pid_t pid) {
  auto const folder = "/proc/" + std::to_string(pid);
  current_backtrace where;
  auto const state = process_stat::of(pid).state;
  where.text = std::string("the worker sent no backtrace; /proc says: state ") +
               (state == '\0' ? '?' : state);
  auto const wchan = read_text_file(folder + "/wchan");
  if (!wchan.empty() && wchan != "0") where.text += ", waiting in kernel function " + wchan;
  // "number arguments... stack_pointer program_counter", "-1 stack_pointer program_counter" or
  // "running".
  auto const call = read_text_file(folder + "/syscall");
  char* rest = nullptr;
  auto const number = std::strtol(call.c_str(), &rest, 10);
  if (rest != call.c_str()) {
    if (number >= 0) where.text += ", in system call " + std::to_string(number);
    auto const last = call.rfind(' ');
    if (last != call.npos) {
      where.frames.push_back(
          static_cast<std::uintptr_t>(std::strtoull(call.c_str() + last, nullptr, 16)));
    }
  }
  where.text += '\n';
  return where;
}

/// Asks a worker for its backtrace with a signal. A worker that responds never resumes its task.
/// Cost: a read of /proc, a signal and a futex, about 0.2 ms; up to 1.5 ms if the worker blocks the
/// signal; longer only if the machine does not let the worker run.
inline current_backtrace locate(child_process const& worker, std::uint32_t number,
                                raw_backtrace& backtrace, int probe_signal) {
  constexpr long patience_ns = 1'500'000;
  constexpr int most_rounds = 400;
  // Read before sending: the signal is also blocked while its handler runs.
  auto const status = read_text_file("/proc/" + std::to_string(worker.pid()) + "/status");
  if (probe_signal != 0 && worker.send(probe_signal)) {
    auto const rounds = blocks_signal(status, probe_signal) ? 1 : most_rounds;
    for (int round = 0; round != rounds; ++round) {
      wait_for_backtrace(backtrace, number, patience_ns);
      if (has_backtrace(backtrace, number)) return {.frames = frames_of(backtrace)};
      // A process that is stopped or has exited does not respond; one blocked in the kernel (D) may.
      auto const state = process_stat::of(worker.pid()).state;
      if (state != 'R' && state != 'S' && state != 'D') break;
    }
  }
  return look_at(worker.pid());
}

/// Kills a worker. Processes that it has started carry its mark, and are found after the worker has
/// ended; where there are no marks (gVisor), they are killed first.
/// Returns: false if the system does not permit it.
inline bool kill_tree(child_process const& worker, process_mark mark) noexcept {
  if (mark_of_process(worker.pid(), true).mark != mark && process_stat::of(worker.pid()).is_alive())
    kill_descendants(worker);
  return worker.kill();
}

}  // namespace forkmap::detail
