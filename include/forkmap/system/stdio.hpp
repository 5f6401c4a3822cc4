// What a program has printed, across a fork: once, in whole lines, and not lost at _exit.
#pragma once

#include <cstdio>
#include <iostream>
#include <streambuf>

#include <forkmap/system/bound.hpp>

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

/// Writes out all that is buffered, so that a child does not inherit it and print it again, or so
/// that a child that ends does not take it along.
inline void flush_output() noexcept {
  flush_stream(std::cout);
  flush_stream(std::clog);
  flush_stream(std::cerr);
  flush_stream(std::wcout);
  flush_stream(std::wclog);
  flush_stream(std::wcerr);
  bound().fflush(nullptr);  // every FILE, the program's own too
}

/// Makes stdout and stderr leave this process line by line whole: a buffer that fills up, or
/// stderr's missing one, would cut lines where another worker's come in between.
inline void print_in_lines() noexcept {
  static char stderr_buffer[BUFSIZ];
  bound().setvbuf(stdout, nullptr, _IOLBF, 0);
  bound().setvbuf(stderr, stderr_buffer, _IOLBF, sizeof stderr_buffer);
  std::cerr.unsetf(std::ios_base::unitbuf);  // it would flush each half line
}

/// Has exit() leave this process without running what the caller registered with atexit. What is
/// registered later runs first, as always.
inline void leave_at_exit() noexcept {
  // If there is no memory for the registration, exit() runs the caller's handlers: nothing better.
  static_cast<void>(bound().on_exit(
      [](int status, void*) {
        flush_output();
        exit_now(status);
      },
      nullptr));
}

}  // namespace forkmap::detail
