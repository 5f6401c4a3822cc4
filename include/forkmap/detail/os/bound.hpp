// The few libc functions that every worker calls, bound when the program starts.
//
// A new child takes a page fault for each page of code that it is the first to run. Programs are linked
// lazily: the first call of a function looks the function up, which touches pages of every library (ten
// page faults, in each child anew). So these functions are called through pointers in static storage,
// which the loader fills before main. System calls go through one function, syscall(), instead of six
// functions on six pages. forkmap's own functions that every worker runs are marked gnu::hot for the
// same reason: the linker puts them side by side.
// SPDX-License-Identifier: MIT
#pragma once

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

/// The function behind glibc's at_quick_exit(), which is not exported; passes on the exit status.
extern "C" int __cxa_at_quick_exit(void (*)(void*, int), void*) noexcept;

namespace forkmap::detail {

struct bound_calls {
  long (*syscall)(long, ...);
  int (*on_exit)(void (*)(int, void*), void*);
  int (*at_quick_exit)(void (*)(void*, int), void*);
  void (*exit)(int);
  int (*setvbuf)(FILE*, char*, int, std::size_t);
  int (*fflush)(FILE*);
  int (*sigaction)(int, struct sigaction const*, struct sigaction*);
  long (*sysconf)(int);
};

inline constexpr bound_calls bound_calls_table{&::syscall,   &::on_exit, &__cxa_at_quick_exit,
                                               &::exit,      &::setvbuf, &::fflush,
                                               &::sigaction, &::sysconf};

/// The table. Its content is hidden from the compiler, which would make the calls direct, and so lazily
/// bound, again.
inline bound_calls const& bound() noexcept {
  auto const* table = &bound_calls_table;
  asm("" : "+r"(table));
  return *table;
}

/// Ends this process at once, without exit handlers and without flushing.
[[noreturn]] inline void exit_now(int status) noexcept {
  for (;;) bound().syscall(SYS_exit_group, static_cast<long>(status));
}

/// Waits until another process kills this one. Signals are handled meanwhile.
[[noreturn]] inline void wait_for_end() noexcept {
  for (;;) bound().syscall(SYS_ppoll, nullptr, 0L, nullptr, nullptr, sizeof(std::uint64_t));
}

/// Ignores a signal. Calls sigaction(): the system call's argument differs between architectures.
inline void ignore_signal(int signal) noexcept {
  struct sigaction ignore{};
  ignore.sa_handler = SIG_IGN;
  bound().sigaction(signal, &ignore, nullptr);
}

/// Sets this thread's signal mask.
/// Source: Linux, rt_sigprocmask(2); the kernel's signal sets have 64 bits.
inline void set_signal_mask(sigset_t const& mask) noexcept {
  bound().syscall(SYS_rt_sigprocmask, static_cast<long>(SIG_SETMASK), &mask, nullptr,
                  sizeof(std::uint64_t));
}

}  // namespace forkmap::detail
