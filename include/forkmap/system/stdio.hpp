// What a program has printed, across a fork: once, in whole lines, and not lost at _exit.
#pragma once

#include <stdio_ext.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>

namespace forkmap::detail {

/// Writes out all that is buffered, so that a child does not inherit it and print it again.
inline void flush_output() noexcept {
  try {
    std::cout.flush();
    std::clog.flush();
    std::wcout.flush();
  } catch (...) {  // a stream told to throw at errors: its state keeps the error for its owner
  }
  std::fflush(nullptr);
}

/// Makes stdout and stderr leave this process line by line whole: a buffer that fills up, or
/// stderr's missing one, would cut lines where another worker's come in between.
inline void print_in_lines() noexcept {
  static char stderr_buffer[BUFSIZ];
  if (!__flbf(stdout)) std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::setvbuf(stderr, stderr_buffer, _IOLBF, sizeof stderr_buffer);
  std::cerr.unsetf(std::ios_base::unitbuf);  // it would flush each half line
}

/// Has exit() leave this process without running what the caller registered with atexit. What is
/// registered later runs first, as always.
inline void leave_at_exit() noexcept {
  // If there is no memory for the registration, exit() runs the caller's handlers: nothing better.
  static_cast<void>(::on_exit(
      [](int status, void*) {
        flush_output();
        ::_exit(status);
      },
      nullptr));
  static_cast<void>(std::at_quick_exit([] { flush_output(); }));
}

}  // namespace forkmap::detail
