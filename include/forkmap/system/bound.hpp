// The libc functions that every worker calls, bound when the program starts.
//
// Programs are linked lazily: a function is looked up at its first call. In a child that is its own
// first call each time, and looking up touches pages of every library, ten page faults per worker.
// A pointer in static storage is filled by the loader, before main, once for all children.
#pragma once

#include <signal.h>
#include <stdio_ext.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace forkmap::detail {

struct bound_calls {
  int (*prctl)(int, ...);
  pid_t (*getppid)();
  int (*sigaction)(int, struct sigaction const*, struct sigaction*);
  int (*pthread_sigmask)(int, sigset_t const*, sigset_t*);
  int (*on_exit)(void (*)(int, void*), void*);
  int (*setvbuf)(FILE*, char*, int, std::size_t);
  int (*flbf)(FILE*);
  int (*fflush)(FILE*);
  int (*madvise)(void*, std::size_t, int);
  void (*exit_now)(int);
};

inline constexpr bound_calls bound_calls_table{
    &::prctl,   &::getppid, &::sigaction, &::pthread_sigmask, &::on_exit,
    &::setvbuf, &::__flbf,  &::fflush,    &::madvise,         &::_exit};

/// The table, in a way that the compiler cannot turn back into direct, lazily bound calls.
inline bound_calls const& bound() noexcept {
  auto const* table = &bound_calls_table;
  asm("" : "+r"(table));
  return *table;
}

}  // namespace forkmap::detail
