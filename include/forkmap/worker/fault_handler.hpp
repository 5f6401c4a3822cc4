// A dying worker's last words: what killed it, where it was.
#pragma once

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include <forkmap/system/backtrace.hpp>
#include <forkmap/system/bound.hpp>
#include <forkmap/this_task.hpp>

namespace forkmap::detail {

/// What an error in a program, or the program itself, ends a process with. No array: its page would
/// be one more for a new worker to fault in.
using fatal_signals =
    std::integer_sequence<int, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS>;

inline bool is_this_process() noexcept {
  return this_process.pid == static_cast<int>(::syscall(SYS_getpid));
}

/// Notes where the process is and lets the signal end it.
inline void on_fatal_signal(int signal, siginfo_t* info, void* context) {
  if (is_this_process()) {
    record_backtrace(*this_process.words, this_process.number, signal, info, context);
  }
  // The handler is gone (SA_RESETHAND). What a fault raised comes again when this returns; what was
  // sent comes when this process lets it in.
  if (info == nullptr || info->si_code <= 0) ::raise(signal);
}

/// Notes where the process is, and stays there.
inline void on_probe(int signal, siginfo_t* info, void* context) {
  if (!is_this_process()) return;
  record_backtrace(*this_process.words, this_process.number, signal, info, context);
  for (;;) ::syscall(SYS_pause);
}

/// In a new worker: installs both. Handlers that the program or a sanitizer has installed stay, and
/// so does their stack.
[[gnu::hot]] inline void give_last_words(raw_backtrace& into, std::uint32_t whose,
                                         int probe_signal) noexcept {
  this_process.words = &into;
  this_process.number = whose;
  this_process.pid = static_cast<int>(bound().syscall(SYS_getpid));

  // A stack that has overflown cannot hold its own handler.
  alignas(16) static std::byte stack[std::size_t{64} << 10U];
  stack_t before{};
  bound().syscall(SYS_sigaltstack, nullptr, &before);
  if ((before.ss_flags & SS_DISABLE) != 0) {
    stack_t const own{.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof stack};
    bound().syscall(SYS_sigaltstack, &own, nullptr);
  }

  struct sigaction on_death{};
  on_death.sa_sigaction = on_fatal_signal;
  on_death.sa_flags = SA_SIGINFO | SA_ONSTACK | static_cast<int>(SA_RESETHAND);
  auto const install = [&](int signal) {
    struct sigaction program{};
    bound().sigaction(signal, &on_death, &program);
    // In this order, one call where nobody has a handler.
    if ((program.sa_flags & SA_SIGINFO) != 0 || program.sa_handler != SIG_DFL) {
      bound().sigaction(signal, &program, nullptr);
    }
  };
  [&]<int... Signal>(std::integer_sequence<int, Signal...>) {
    (install(Signal), ...);
  }(fatal_signals());
  if (probe_signal != 0) {
    struct sigaction probe{};
    probe.sa_sigaction = on_probe;
    probe.sa_flags = SA_SIGINFO | SA_ONSTACK;
    bound().sigaction(probe_signal, &probe, nullptr);
  }
}

/// A signal that this process has no use for; 0 if there is none.
inline int unused_signal() noexcept {
  for (int signal = SIGRTMAX; signal >= SIGRTMIN; --signal) {
    struct sigaction program{};
    if (::sigaction(signal, nullptr, &program) == 0 && (program.sa_flags & SA_SIGINFO) == 0 &&
        program.sa_handler == SIG_DFL) {
      return signal;
    }
  }
  return 0;
}

}  // namespace forkmap::detail
