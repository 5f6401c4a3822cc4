// What a program has printed, across a fork: once, in whole lines, and not lost at _exit.
#pragma once

#include <stdio_ext.h>

#include <cstdio>
#include <iostream>
#include <streambuf>

#include <forkmap/system/bound.hpp>
#include <forkmap/system/shared_memory.hpp>

namespace forkmap::detail {

/// Whether a stream holds text that it has not passed on. Looks without a call: flush() of an empty
/// stream costs a new child some page faults.
template <class Char> bool holds_text(std::basic_ostream<Char> const& stream) noexcept {
  struct buffer : std::basic_streambuf<Char> {
    static bool holds_text(std::basic_streambuf<Char> const& b) noexcept {
      return (b.*&buffer::pptr)() != (b.*&buffer::pbase)();
    }
  };
  return stream.rdbuf() != nullptr && buffer::holds_text(*stream.rdbuf());
}

template <class Char> void flush_stream(std::basic_ostream<Char>& stream) noexcept {
  try {
    if (holds_text(stream)) stream.flush();
  } catch (...) {  // a stream told to throw at errors: its state keeps the error for its owner
  }
}

/// Whether nobody holds the lock of a FILE, as somebody does who waits for its input. Otherwise
/// flushing it, or all of them, would wait as long.
inline bool is_free(FILE* file) noexcept {
  if (::ftrylockfile(file) != 0) return false;
  ::funlockfile(file);
  return true;
}

/// Writes out all that is buffered, so that a child does not inherit it and print it again, or so
/// that a child that ends does not take it along.
[[gnu::hot]] inline void flush_output() noexcept {
  flush_stream(std::cout);
  flush_stream(std::clog);
  flush_stream(std::cerr);
  flush_stream(std::wcout);
  flush_stream(std::wclog);
  flush_stream(std::wcerr);
  if (is_free(stdin)) {
    bound().fflush(nullptr);  // every FILE, the program's own too
  } else {
    if (is_free(stdout)) bound().fflush(stdout);
    if (is_free(stderr)) bound().fflush(stderr);
  }
}

/// In a child: makes present what the functions below write, the C library's two pages of variables:
/// by one call instead of a page fault each.
inline void prepare_stdio() noexcept { populate_for_writing(stdout, page_bytes); }

/// In a child: forgets what another thread of the caller has put into a stream since it was flushed;
/// that thread's process prints it.
inline void forget_inherited_output() noexcept {
  for (FILE* file : {stdout, stderr}) {
    if (file->_IO_write_ptr != file->_IO_write_base) ::__fpurge(file);
  }
}

/// In a child: makes stdout and stderr leave this process line by line whole. A buffer that fills
/// up, or a missing one, would cut lines where another worker's come in between.
[[gnu::hot]] inline void print_in_lines() noexcept {
  static char stdout_buffer[BUFSIZ];
  static char stderr_buffer[BUFSIZ];
  constexpr int unbuffered = 2;  // _IO_UNBUFFERED, which glibc keeps to itself
  bool const has_buffer = (stdout->_flags & unbuffered) == 0;
  bound().setvbuf(stdout, has_buffer ? nullptr : stdout_buffer, _IOLBF, has_buffer ? 0 : BUFSIZ);
  bound().setvbuf(stderr, stderr_buffer, _IOLBF, sizeof stderr_buffer);
  std::cerr.unsetf(std::ios_base::unitbuf);  // it would flush each half line
}

/// Has exit() leave this process without running what the caller registered with atexit. What is
/// registered later runs first, as always, and so do the destructors of this thread's thread_local
/// objects.
[[gnu::hot]] inline void leave_at_exit() noexcept {
  // If there is no memory for the registration, exit() runs the caller's handlers: nothing better.
  static_cast<void>(bound().on_exit(
      [](int status, void*) {
        flush_output();
        exit_now(status);
      },
      nullptr));
}

}  // namespace forkmap::detail
