// A worker's stdout, stderr, std::cout, std::cerr and std::clog: created in the caller, installed in
// the worker.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <new>
#include <string_view>
#include <typeinfo>

#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/whole_lines.hpp>

namespace forkmap::detail {

class worker_output {
 public:
  /// Called in a caller before it forks: creates the output streams, or updates them.
  /// Errors: std::system_error naming mmap.
  static void prepare() {
    if (made_.load(std::memory_order_acquire) == nullptr) make();
    auto* const output = made_.load(std::memory_order_acquire);
    if (output == nullptr) return;
    output->out_.follow_descriptor();
    output->err_.follow_descriptor();
    // Writes only what has changed: a child shares the page, and a write copies it.
    auto const note = [](std::atomic<int>& known, int now) {
      if (known.load(std::memory_order_relaxed) != now) known.store(now, std::memory_order_relaxed);
    };
    note(output->has_cout_, prints_to_file(std::cout) ? 1 : 0);
    note(output->has_cerr_, prints_to_file(std::cerr) ? 1 : 0);
    note(output->has_clog_, prints_to_file(std::clog) ? 1 : 0);
  }

  /// Called in a new worker: makes it print through these streams.
  [[gnu::hot]] static void take_over() noexcept {
    auto* const output = made_.load(std::memory_order_relaxed);
    if (output == nullptr) return;
    if (output->out_.printed != nullptr) when_printed(nullptr, nullptr);  // the caller is a worker
    constexpr auto relaxed = std::memory_order_relaxed;
    if (output->out_.take_over(stdout)) {
      if (output->has_cout_.load(relaxed) != 0) print_by(std::cout, output->to_out_);
    }
    if (output->err_.take_over(stderr)) {
      if (output->has_cerr_.load(relaxed) != 0) print_by(std::cerr, output->to_err_);
      if (output->has_clog_.load(relaxed) != 0) print_by(std::clog, output->to_err_);
    }
  }

  /// In a worker: has `printed(context)` called when it has printed the end of a line.
  static void when_printed(void (*printed)(void*) noexcept, void* context) noexcept {
    auto* const output = made_.load(std::memory_order_relaxed);
    if (output == nullptr) return;
    for (auto* const sink : {&output->out_, &output->err_}) {
      sink->printed = printed;
      sink->context = context;
    }
  }
  /// Writes lines to a descriptor while no other process of the program prints lines.
  static void print(int fd, std::string_view lines) noexcept {
    auto* const output = made_.load(std::memory_order_relaxed);
    printing_turn const turn(output == nullptr ? nullptr : output->out_.lock,
                             output == nullptr ? 0 : output->out_.secret);
    line_sink::write_to(fd, lines.data(), lines.size());
  }

  /// In a worker: prints the beginnings of lines that were held back.
  [[gnu::hot]] static void flush() noexcept {
    auto* const output = made_.load(std::memory_order_relaxed);
    if (output == nullptr) return;
    for (auto* const sink : {&output->out_, &output->err_}) {
      if (sink->n_pending == 0 || ::ftrylockfile(sink->file) != 0) continue;
      sink->print_pending();
      ::funlockfile(sink->file);
    }
  }

 private:
  /// Does what stream.rdbuf(&buffer) does, without library code that a new child has not run yet.
  [[gnu::hot]] static void print_by(std::ostream& stream, std::streambuf& buffer) {
    struct protected_part : std::ios {
      static void set(std::ios& stream, std::streambuf* buffer) {
        (stream.*&protected_part::set_rdbuf)(buffer);
      }
    };
    protected_part::set(stream, &buffer);
  }

  struct sink : line_sink {
    /// Creates the FILE that replaces `program`.
    /// Errors: none; without memory for a FILE, the program's own stays.
    void make_file(FILE* program, printing_lock* shared) noexcept {
      original = program;
      fd = program->_fileno;
      lock = shared;
      // No thread id has these upper bits, so that an overwritten owner is recognised.
      std::memcpy(&secret, reinterpret_cast<void const*>(::getauxval(AT_RANDOM)), sizeof secret);
      secret |= std::uint64_t{1} << 62U;
      cookie_io_functions_t const functions{
          .read = nullptr,
          .write =
              [](void* cookie, char const* text, std::size_t n) {
                return static_cast<line_sink*>(cookie)->take(text, n) ? static_cast<ssize_t>(n) : 0;
              },
          .seek = nullptr,
          .close = [](void* cookie) { return ::close(static_cast<line_sink*>(cookie)->fd); }};
      file = ::fopencookie(this, "w", functions);
      if (file == nullptr) return;
      std::setvbuf(file, buffer, _IOLBF, sizeof buffer);
      lend_wide_text();
    }

    /// Makes the FILE accept wide characters, which a FILE of fopencookie() refuses. With the data that
    /// a FILE of a descriptor has for them, it becomes such a FILE when the first of them is printed.
    void lend_wide_text() const noexcept {
      auto* const wide = ::fdopen(fd, "w");
      if (wide == nullptr) return;  // the descriptor is closed: nothing is printed anyway
      wide->_fileno = -1;
      file->_wide_data = wide->_wide_data;
      file->_mode = 0;
      file->_fileno = fd;  // for fileno(stdout)
    }

    /// Follows the program's FILE, which may have been reopened with another descriptor since.
    void follow_descriptor() noexcept {
      if (file == nullptr || original->_fileno == fd) return;
      fd = original->_fileno;
      file->_fileno = fd;
    }

    /// Makes `stream` this FILE, in a new worker.
    /// Returns: false if `stream` is unchanged.
    [[gnu::hot]] bool take_over(FILE*& stream) noexcept {
      if (n_pending != 0) n_pending = 0;  // the caller's text; a page is written only if necessary
      if (file != nullptr && stream == file) {  // the caller is a worker
        bound().setvbuf(file, buffer, _IOLBF, sizeof buffer);
        return true;
      }
      // Some code may have kept a pointer to the program's own FILE, which is line-buffered then, so
      // that short lines stay whole.
      constexpr int unbuffered = 2;  // _IO_UNBUFFERED, which glibc does not export
      bool const has_buffer = (stream->_flags & unbuffered) == 0;
      bound().setvbuf(stream, has_buffer ? nullptr : original_buffer, _IOLBF,
                      has_buffer ? 0 : sizeof original_buffer);
      if (file == nullptr || stream != original || stream->_mode > 0 || fd < 0) return false;
      stream = file;
      return true;
    }
  };

  static void make() {
    auto* const shared = ::mmap(nullptr, sizeof(printing_lock), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) throw_errno("mmap of shared memory,", "a page for printing");
    auto* const output = new (std::nothrow) worker_output;
    worker_output* none = nullptr;
    if (output == nullptr) {
      ::munmap(shared, sizeof(printing_lock));
      return;
    }
    output->out_.make_file(stdout, static_cast<printing_lock*>(shared));
    output->err_.make_file(stderr, static_cast<printing_lock*>(shared));
    if (made_.compare_exchange_strong(none, output)) return;
    // Another thread was faster. The FILEs made here stay open: fclose() would close the descriptor.
    ::munmap(shared, sizeof(printing_lock));
  }

  /// Whether a stream still has the C++ library's own buffer, synchronised with stdio or not.
  static bool prints_to_file(std::ostream const& stream) noexcept {
    auto* const buffer = stream.rdbuf();
    if (buffer == nullptr) return false;
    auto const& object = *buffer;
    std::string_view const name = typeid(object).name();
    // The two of libstdc++, that of libc++, and forkmap's own.
    return name.starts_with("N9__gnu_cxx18stdio_sync_filebuf") ||
           name.starts_with("N9__gnu_cxx13stdio_filebuf") ||
           name.find("11__stdoutbuf") != name.npos || typeid(object) == typeid(file_streambuf);
  }

  static inline constinit std::atomic<worker_output*> made_ = nullptr;

  sink out_{};
  sink err_{};
  file_streambuf to_out_{&stdout};
  file_streambuf to_err_{&stderr};
  std::atomic<int> has_cout_ = 0;
  std::atomic<int> has_cerr_ = 0;
  std::atomic<int> has_clog_ = 0;
};

}  // namespace forkmap::detail
