// Normal exit of a worker process, and a timer that kills a process that hangs.
// SPDX-License-Identifier: MIT
#pragma once

#include <link.h>
#include <sched.h>
#include <signal.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/stdio.hpp>

namespace forkmap::detail {

// A timer that kills its own process.

/// Has the kernel send SIGKILL to this process unless stop() is called in time. No handler, no thread
/// and no signal mask is involved, so that a process that waits for something is killed as well. Best
/// effort: without memory for a timer, there is none.
/// Cost: start() makes two system calls, or one if the timer is running; stop() makes one.
class kill_timer {
 public:
  [[gnu::hot]] void start(std::int64_t nanoseconds) noexcept {
    constexpr int none = -1;
    if (id_ == none) {
      sigevent event{};
      event.sigev_notify = SIGEV_SIGNAL;
      event.sigev_signo = SIGKILL;
      if (bound().syscall(SYS_timer_create, static_cast<long>(CLOCK_MONOTONIC), &event, &id_) !=
          0) {
        id_ = none;
        return;
      }
    }
    constexpr std::int64_t second_ns = 1'000'000'000;
    itimerspec const once{
        .it_interval = {},
        .it_value = {.tv_sec = nanoseconds / second_ns, .tv_nsec = nanoseconds % second_ns}};
    bound().syscall(SYS_timer_settime, static_cast<long>(id_), 0L, &once, nullptr);
  }

  void stop() noexcept {
    if (id_ >= 0) bound().syscall(SYS_timer_delete, static_cast<long>(id_));
    id_ = -1;
  }

 private:
  int id_ = -1;  // the kernel's id of the timer, an int there; -1: no timer
};

}  // namespace forkmap::detail

// The C library's list of a thread's thread_local destructors, which a forked child inherits.
//
// exit() first runs this list, and the C library has no function that empties it: destructors that the
// caller's thread registered before the fork would run in a worker. The head of the list is a pointer
// among the C library's thread-local variables; a node is {function, object, module, next}. To find the
// head, forkmap registers two objects of its own and searches those variables for a pointer that leads
// to their nodes. The result is used only if exactly one pointer does. With another C library there is
// none, and workers end as with _exit().

extern "C" int __cxa_thread_atexit_impl(void (*)(void*), void*, void*) noexcept;

namespace forkmap::detail {

/// Whether the 8 bytes at `address` can be read. The kernel copies a CPU set from there before it looks
/// for the process; no process has this pid, so that ESRCH means that the copy succeeded.
inline bool is_readable(std::uintptr_t address) noexcept {
  return ::sched_setaffinity(INT32_MAX, 8, reinterpret_cast<cpu_set_t const*>(address)) != 0 &&
         errno == ESRCH;
}

class thread_exit_list {
 public:
  /// Finds the list. Called in a caller before its first fork.
  /// Cost: some microseconds, once per process.
  static void find() noexcept {
    if (offset_.load(std::memory_order_relaxed) != not_looked) return;
    auto const before = errno;
    offset_.store(look(), std::memory_order_relaxed);
    errno = before;
  }

  /// In a new child: empties the list, which holds the destructors registered before the fork.
  /// Returns: false if find() did not find the list, so that exit() would run it.
  static bool forget() noexcept {
    auto const offset = offset_.load(std::memory_order_relaxed);
    if (offset == not_looked || offset == not_there) return false;
    *reinterpret_cast<node const**>(block() + offset) = nullptr;
    return true;
  }

 private:
  struct node {
    std::uintptr_t function;  // encoded (the C library's pointer guard)
    void* object;
    void* module;
    node const* next;
  };
  static constexpr std::ptrdiff_t not_looked = PTRDIFF_MAX;
  static constexpr std::ptrdiff_t not_there = PTRDIFF_MIN;
  static inline constinit std::atomic<std::ptrdiff_t> offset_ = not_looked;

  /// An address among the C library's thread-local variables: that of errno, which is one of them.
  static std::byte* block() noexcept { return reinterpret_cast<std::byte*>(&errno); }

  struct range {
    std::byte* begin;
    std::byte* end;
  };
  static int note_block_of_errno(dl_phdr_info* module, std::size_t, void* into) noexcept {
    auto* const begin = static_cast<std::byte*>(module->dlpi_tls_data);
    if (begin == nullptr) return 0;
    for (int i = 0; i != module->dlpi_phnum; ++i) {
      auto const& part = module->dlpi_phdr[i];
      if (part.p_type != PT_TLS) continue;
      auto* const end = begin + part.p_memsz;
      if (block() < begin || block() >= end) continue;
      *static_cast<range*>(into) = {begin, end};
      return 1;
    }
    return 0;
  }

  static bool holds(std::byte const* at, void const* object, void const* next_object) noexcept {
    auto const* const first = *reinterpret_cast<node const* const*>(at);
    auto const address = reinterpret_cast<std::uintptr_t>(first);
    if (address % alignof(node) != 0 || !is_readable(address) ||
        !is_readable(address + sizeof(node) - 8)) {
      return false;
    }
    if (first->object != object) return false;
    if (next_object == nullptr) return true;
    return holds(reinterpret_cast<std::byte const*>(&first->next), next_object, nullptr);
  }

  static std::ptrdiff_t look() noexcept {
    range variables{};
    ::dl_iterate_phdr(note_block_of_errno, &variables);
    // Function and module are the C library's, so that a library with this code in it can be unloaded.
    auto* const module = reinterpret_cast<void*>(bound().exit);
    void* const first = std::malloc(1);
    void* const second = std::malloc(1);
    if (first == nullptr || __cxa_thread_atexit_impl(&std::free, first, module) != 0 ||
        second == nullptr || __cxa_thread_atexit_impl(&std::free, second, module) != 0) {
      return not_there;
    }
    auto offset = not_there;
    constexpr auto grain = alignof(node*);
    auto const begin = reinterpret_cast<std::uintptr_t>(variables.begin);
    for (auto* candidate = reinterpret_cast<std::byte*>((begin + grain - 1) / grain * grain);
         candidate + sizeof(node*) <= variables.end; candidate += sizeof(node*)) {
      if (!holds(candidate, second, first)) continue;
      if (offset != not_there) return not_there;
      offset = candidate - block();
    }
    return offset;
  }
};

}  // namespace forkmap::detail

// Normal exit of a worker: handlers registered in the worker run, its caller's handlers do not.
//
// exit() runs the destructors of the thread's thread_local objects, then what was registered with
// atexit, on_exit and by function-local statics, newest first. A new worker empties the first list and
// registers end_of_exit in the second. All that runs before end_of_exit was registered in the worker,
// and end_of_exit ends the process. quick_exit() has a list of its own, which is treated the same way.
//
// Registering takes a lock of the C library that fork() does not reset. If another thread of the
// caller holds the lock at the fork (in dlclose, in atexit, at the first use of a static), it is never
// released in the child: neither exit() nor a task's own statics would ever return there. A timer kills
// such a child before it starts any task, and another child is forked.

/// gcov's handler for the end of a program: hidden, and null unless the program is compiled with gcov.
/// The counters of a child begin at its fork.
extern "C" [[gnu::weak, gnu::visibility("hidden")]] void __gcov_exit();

namespace forkmap::detail {

/// Time limit for exit handlers in a worker. A worker that takes longer hangs, and is killed. Tests
/// shorten it.
inline constinit std::int64_t exit_limit_ns = 30'000'000'000;
/// Time limit for registering exit handlers at the start of a worker: this takes some microseconds, or
/// waits forever. On a loaded machine a worker may be delayed for longer; it is then killed, too, and
/// forked again. Tests that count forks lengthen it.
inline constinit std::int64_t start_limit_ns = 8'000'000;

/// Whether exit() runs only this process's own handlers, and may be used for its normal end.
inline constinit bool exit_is_usable = false;

[[gnu::hot]] inline void end_of_exit(int status, void*) {
  flush_output();
  if (__gcov_exit != nullptr) __gcov_exit();
  exit_now(status);
}

inline void end_of_quick_exit(void*, int status) { exit_now(status); }

/// Called in a caller before it forks a worker: finds the list of thread_local destructors, creates the
/// output streams that a worker takes over, and flushes buffered output.
/// Errors: std::system_error naming mmap.
inline void prepare_fork() {
  thread_exit_list::find();
  prepare_output();
}

/// In a new child: from now on exit() runs only handlers that are registered later. Does not return if
/// the C library's lock is held forever: a timer kills the process.
[[gnu::hot]] inline void leave_at_exit() noexcept {
  kill_timer watch;
  bool const beside_threads = __libc_single_threaded == 0;  // in the parent, at the fork
  if (beside_threads) watch.start(start_limit_ns);
  // Without memory for the registration, a task's own call of exit() runs the caller's handlers, too.
  exit_is_usable = bound().on_exit(end_of_exit, nullptr) == 0;
  static_cast<void>(bound().at_quick_exit(end_of_quick_exit, nullptr));
  if (beside_threads) watch.stop();
  exit_is_usable = thread_exit_list::forget() && exit_is_usable;
}

/// Normal exit of a worker, after it has written its output and reported that it is done.
[[noreturn, gnu::hot]] inline void end_worker() noexcept {
  if (!exit_is_usable) exit_now(0);
  kill_timer().start(exit_limit_ns);
  bound().exit(0);
  exit_now(0);
}

}  // namespace forkmap::detail
