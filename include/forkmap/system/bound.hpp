// The libc functions that every worker calls: few, and bound when the program starts.
//
// A new child pays a page fault for each page of code that it is the first to run, and programs are
// linked lazily: a function is looked up at its first call, which touches pages of every library
// (ten page faults, in each child anew). So the functions are called through pointers in static
// storage, which the loader fills before main, and system calls go through one function, syscall(),
// instead of six that lie on six pages. forkmap's own functions that every worker runs are marked
// gnu::hot for the same reason: the linker puts them side by side.
#pragma once

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace forkmap::detail {

struct bound_calls {
  long (*syscall)(long, ...);
  int (*on_exit)(void (*)(int, void*), void*);
  int (*setvbuf)(FILE*, char*, int, std::size_t);
  int (*fflush)(FILE*);
  int (*sigaction)(int, struct sigaction const*, struct sigaction*);
};

inline constexpr bound_calls bound_calls_table{&::syscall, &::on_exit, &::setvbuf, &::fflush,
                                               &::sigaction};

/// The table, in a way that the compiler cannot turn back into direct, lazily bound calls.
inline bound_calls const& bound() noexcept {
  auto const* table = &bound_calls_table;
  asm("" : "+r"(table));
  return *table;
}

/// Ends this process at once: no handlers, no flushing.
[[noreturn]] inline void exit_now(int status) noexcept {
  for (;;) bound().syscall(SYS_exit_group, static_cast<long>(status));
}

/// Source: Linux, struct kernel_sigaction; its signal sets have 64 bits.
inline void ignore_signal(int signal) noexcept {
  struct {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    std::uint64_t mask;
  } const ignore{SIG_IGN, 0, nullptr, 0};
  bound().syscall(SYS_rt_sigaction, static_cast<long>(signal), &ignore, nullptr,
                  sizeof(std::uint64_t));
}

/// Sets this thread's signal mask.
inline void set_signal_mask(sigset_t const& mask) noexcept {
  bound().syscall(SYS_rt_sigprocmask, static_cast<long>(SIG_SETMASK), &mask, nullptr,
                  sizeof(std::uint64_t));
}

}  // namespace forkmap::detail
