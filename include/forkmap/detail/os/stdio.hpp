// The program's stdio across a fork.
// SPDX-License-Identifier: MIT
#pragma once

#include <pthread.h>
#include <stdio_ext.h>
#include <sys/single_threaded.h>

#include <atomic>
#include <cstdio>
#include <iostream>
#include <streambuf>

#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/os/worker_output.hpp>

// All FILEs of the program, visited and flushed without waiting for a thread that has locked one.

// glibc's own iteration over its list of FILEs, exported since 2.2.5; its fork() takes the same lock.
extern "C" {
[[gnu::weak]] void _IO_list_lock();
[[gnu::weak]] void _IO_list_unlock();
[[gnu::weak]] void* _IO_iter_begin();
[[gnu::weak]] void* _IO_iter_end();
[[gnu::weak]] void* _IO_iter_next(void*);
[[gnu::weak]] FILE* _IO_iter_file(void*);
}

namespace forkmap::detail {

/// Calls visit(file) for every open FILE; only for stdout and stderr with a C library that has no such
/// list. No other thread may open or close a FILE meanwhile.
template <class Visit> void for_each_file(Visit const& visit) noexcept {
  if (_IO_iter_begin == nullptr || _IO_iter_file == nullptr) {
    visit(stdout);
    visit(stderr);
    return;
  }
  for (auto* at = _IO_iter_begin(); at != _IO_iter_end(); at = _IO_iter_next(at)) {
    visit(_IO_iter_file(at));
  }
}

/// Flushes all FILEs except those that another thread has locked. A thread that waits for input may hold
/// its FILE's lock forever, and fflush(nullptr) would wait with it.
/// Returns: whether any text remains.
[[gnu::hot]] inline bool flush_free_files() noexcept {
  int cancelled = 0;  // a cancelled thread would never unlock the list
  ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled);
  if (_IO_list_lock != nullptr) _IO_list_lock();
  bool has_remaining = false;
  for_each_file([&](FILE* file) {
    if (::__fpending(file) == 0) return;
    if (::ftrylockfile(file) == 0) {
      std::fflush(file);
      ::funlockfile(file);
    }
    if (::__fpending(file) != 0) has_remaining = true;
  });
  if (_IO_list_unlock != nullptr) _IO_list_unlock();
  ::pthread_setcancelstate(cancelled, nullptr);
  return has_remaining;
}

/// In a child: discards the text that all FILEs have inherited; the caller's process writes it.
inline void forget_text_of_files() noexcept {
  for_each_file([](FILE* file) {
    if (::__fpending(file) != 0) ::__fpurge(file);
  });
}

// Buffered output across a fork: printed once, in whole lines, and not lost at _exit().

template <class Char> struct text_of_streambuf : std::basic_streambuf<Char> {
  using base = std::basic_streambuf<Char>;
  static bool is_there(base const& b) noexcept {
    return (b.*&text_of_streambuf::pptr)() != (b.*&text_of_streambuf::pbase)();
  }
  static void forget(base& b) {
    (b.*&text_of_streambuf::setp)((b.*&text_of_streambuf::pbase)(),
                                  (b.*&text_of_streambuf::epptr)());
  }
};

/// Whether a stream holds unwritten text. Makes no function call: flush() of an empty stream costs a new
/// child some page faults.
template <class Char> bool holds_text(std::basic_ostream<Char> const& stream) noexcept {
  return stream.rdbuf() != nullptr && text_of_streambuf<Char>::is_there(*stream.rdbuf());
}

template <class Char> void flush_stream(std::basic_ostream<Char>& stream) noexcept {
  try {
    if (holds_text(stream)) stream.flush();
  } catch (...) {  // the stream throws on errors; its state keeps the error
  }
}

template <class Char> void forget_text(std::basic_ostream<Char>& stream) noexcept {
  if (holds_text(stream)) text_of_streambuf<Char>::forget(*stream.rdbuf());
}

/// Whether children may inherit text in FILEs that this process could not flush.
inline constinit std::atomic<int> text_may_be_inherited = 0;

/// Flushes all buffered output, so that it is not lost when a child exits. Waits for no thread: text in
/// FILEs that another thread has locked remains.
/// Returns: whether any text remains.
[[gnu::hot]] inline bool flush_output() noexcept {
  flush_stream(std::cout);
  flush_stream(std::clog);
  flush_stream(std::cerr);
  flush_stream(std::wcout);
  flush_stream(std::wclog);
  flush_stream(std::wcerr);
  bool const has_remaining = flush_free_files();
  worker_output::flush();
  return has_remaining;
}

/// Called in a caller before it forks: flushes all buffered output, so that a child does not inherit it
/// and print it again.
/// Errors: std::system_error naming mmap.
inline void prepare_output() {
  worker_output::prepare();
  if (flush_output()) text_may_be_inherited.store(1, std::memory_order_relaxed);
}

/// In a child: prefaults the C library's two pages of variables, which the functions below write, with
/// one call instead of a page fault each.
inline void prepare_stdio() noexcept { populate_for_writing(stdout, page_bytes); }

/// In a child: discards text that another thread of the caller has put into a stream since the flush, or
/// into a stream that it had locked during the flush. The caller's process prints that text.
inline void forget_inherited_output() noexcept {
  for (FILE* file : {stdout, stderr}) {
    if (file->_IO_write_ptr != file->_IO_write_base) ::__fpurge(file);
  }
  if (__libc_single_threaded != 0 && text_may_be_inherited.load(std::memory_order_relaxed) == 0)
    return;
  forget_text_of_files();
  forget_text(std::cout);
  forget_text(std::clog);
  forget_text(std::cerr);
  forget_text(std::wcout);
  forget_text(std::wclog);
  forget_text(std::wcerr);
}

/// In a child: makes stdout and stderr print whole lines.
[[gnu::hot]] inline void print_in_lines() noexcept {
  worker_output::take_over();
  std::cerr.unsetf(std::ios_base::unitbuf);  // it would flush incomplete lines
}

}  // namespace forkmap::detail
