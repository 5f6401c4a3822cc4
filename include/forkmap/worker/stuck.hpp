// A worker whose task does not end: asked where it is, then ended.
#pragma once

#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <forkmap/system/backtrace.hpp>
#include <forkmap/system/process.hpp>
#include <forkmap/system/process_tree.hpp>
#include <forkmap/system/text_file.hpp>

namespace forkmap::detail {

/// Where a process is.
struct whereabouts {
  std::vector<std::uintptr_t> frames{};  // innermost first
  std::string text{};                    // what else there is to say
};

/// Sleeps until the backtrace is there, or the time is over.
inline void wait_for_backtrace(raw_backtrace& from, std::uint32_t whose,
                               long nanoseconds) noexcept {
  timespec const patience{.tv_sec = 0, .tv_nsec = nanoseconds};
  auto const seen = from.whose.load(std::memory_order_acquire);
  // An early end does no harm: the caller looks again.
  if (seen != whose) ::syscall(SYS_futex, &from.whose, FUTEX_WAIT, seen, &patience, nullptr, 0);
}

/// Whether a thread of the process, its first, keeps that signal out.
inline bool blocks_signal(std::string const& status, int signal) {
  constexpr char field[] = "\nSigBlk:\t";
  auto const at = status.find(field);
  if (at == status.npos) return false;
  auto const mask = std::strtoull(status.c_str() + at + sizeof field - 1, nullptr, 16);
  return (mask >> static_cast<unsigned>(signal - 1) & 1U) != 0;
}

/// What /proc tells of a process that does not answer.
/// Source: Linux, proc(5): stat, wchan, syscall.
inline whereabouts look_at(pid_t pid) {
  auto const folder = "/proc/" + std::to_string(pid);
  whereabouts where;
  auto const state = process_state(pid);
  where.text =
      std::string("it did not say where it is; /proc says: state ") + (state == '\0' ? '?' : state);
  auto const wchan = read_text_file(folder + "/wchan");
  if (!wchan.empty() && wchan != "0") where.text += ", waiting in the kernel's " + wchan;
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

/// Asks a worker where it is. It does nothing else from then on, if it answers.
/// Cost: a look at /proc, a signal and a futex, about 0.2 ms; up to 1.5 ms where it keeps the signal
/// out, and longer only where the machine does not let it run.
inline whereabouts locate(child_process const& worker, std::uint32_t number, raw_backtrace& words,
                          int probe_signal) {
  constexpr long patience_ns = 1'500'000;
  constexpr int most_rounds = 400;
  // Before it is sent: while a signal is answered it is kept out, too.
  auto const status = read_text_file("/proc/" + std::to_string(worker.pid()) + "/status");
  if (probe_signal != 0 && worker.send(probe_signal)) {
    auto const rounds = blocks_signal(status, probe_signal) ? 1 : most_rounds;
    for (int round = 0; round != rounds; ++round) {
      wait_for_backtrace(words, number, patience_ns);
      if (has_backtrace(words, number)) return {.frames = frames_of(words)};
      // A process that is stopped or dead does not answer any more; one in the kernel's care may.
      auto const state = process_state(worker.pid());
      if (state != 'R' && state != 'S' && state != 'D') break;
    }
  }
  return look_at(worker.pid());
}

/// Ends a worker and all that it has started; the worker alone where no memory is left to look.
inline void kill_tree(child_process const& worker) noexcept {
  try {
    kill_descendants(worker.pid(), worker.handle());
  } catch (...) {  // the worker may be stopped by now, and must not stay so
  }
  worker.kill();
}

}  // namespace forkmap::detail
