// Output of workers in whole lines, for lines of any length and any number of workers that print.
//
// glibc writes a line that is longer than a FILE's buffer in pieces, and the kernel lets other
// processes write into a pipe between the pieces of one long write. So a worker's stdout and stderr
// are FILEs of forkmap's own, which collect the pieces of a line and write them while they hold a lock
// that all processes of the program share. The caller creates all of it at its first call; a new worker
// only sets pointers. std::cout, std::cerr and std::clog print through these FILEs.
//
// The lock is a word in shared memory that names the thread that holds it. A worker may be killed while
// it holds the lock, or may overwrite the word: a waiting thread checks at intervals whether the owner
// is alive.
// SPDX-License-Identifier: MIT
#pragma once

#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <streambuf>

#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/futex.hpp>
#include <forkmap/detail/os/marked_processes.hpp>

namespace forkmap::detail {

/// A lock for printing, shared by processes: one thread among all of them holds it.
struct printing_lock {
  std::atomic<std::uint64_t> owner;      // thread id xor a secret; 0: unlocked
  std::atomic<std::uint32_t> n_unlocks;  // a futex
};

class printing_turn {
 public:
  printing_turn(printing_lock* lock, std::uint64_t secret) noexcept
      : lock_(lock), own_(secret ^ static_cast<std::uint64_t>(bound().syscall(SYS_gettid))) {
    if (lock_ == nullptr) return;
    // After so many waits the word is taken as overwritten: printing without the lock may cut lines.
    constexpr int most_waits = 500;
    for (int waits = 0;; ++waits) {
      auto const seen = lock_->n_unlocks.load();
      std::uint64_t owner = 0;
      if (lock_->owner.compare_exchange_strong(owner, own_)) return;
      if (owner == own_ || waits == most_waits) {  // own_: a signal handler prints
        lock_ = nullptr;
        return;
      }
      constexpr std::int64_t patience_ns = 20'000'000;
      wait_while_equal(lock_->n_unlocks, seen, patience_ns);
      if (lock_->owner.load() == owner && !is_alive(owner ^ secret) &&
          lock_->owner.compare_exchange_strong(owner, own_)) {
        return;
      }
    }
  }
  printing_turn(printing_turn const&) = delete;
  printing_turn& operator=(printing_turn const&) = delete;
  ~printing_turn() {
    if (lock_ == nullptr) return;
    auto owner = own_;
    lock_->owner.compare_exchange_strong(owner, 0);
    lock_->n_unlocks.fetch_add(1);
    wake_all(lock_->n_unlocks);
  }

 private:
  static bool is_alive(std::uint64_t thread) noexcept {
    if (thread == 0 || thread > INT32_MAX) return false;
    return process_stat::of(static_cast<pid_t>(thread)).is_alive();
  }

  printing_lock* lock_;
  std::uint64_t own_;
};

/// The buffer in which lines for one descriptor are collected.
struct line_sink {
  int fd = -1;
  FILE* file = nullptr;      // prints into this buffer
  FILE* original = nullptr;  // the program's own for that descriptor
  printing_lock* lock = nullptr;
  std::uint64_t secret = 0;
  void (*printed)(void* context) noexcept = nullptr;  // called when the end of a line was printed
  void* context = nullptr;
  char* pending = nullptr;  // the beginning of an incomplete line
  std::size_t n_pending = 0;
  std::size_t capacity = 0;
  char buffer[BUFSIZ];           // of `file`
  char original_buffer[BUFSIZ];  // of `original`, if it has none

  bool write_all(char const* text, std::size_t n) const noexcept { return write_to(fd, text, n); }
  static bool write_to(int fd, char const* text, std::size_t n) noexcept {
    while (n != 0) {
      auto const written = ::write(fd, text, n);
      if (written >= 0) {
        text += written;
        n -= static_cast<std::size_t>(written);
      } else if (errno == EAGAIN) {  // the descriptor is non-blocking
        pollfd ready{fd, POLLOUT, 0};
        ::poll(&ready, 1, -1);
      } else if (errno != EINTR) {
        return false;
      }
    }
    return true;
  }

  bool print(char const* text, std::size_t n) const noexcept {
    bool done = false;
    {
      printing_turn const turn(lock, secret);
      done = write_all(text, n);
    }
    if (printed != nullptr && ::memrchr(text, '\n', n) != nullptr) printed(context);
    return done;
  }

  bool append(char const* text, std::size_t n) noexcept {
    if (capacity - n_pending < n) {
      auto const wanted = std::max(n_pending + n, capacity * 2);
      auto* const more = static_cast<char*>(std::realloc(pending, wanted));
      if (more == nullptr) return false;
      pending = more;
      capacity = wanted;
    }
    std::memcpy(pending + n_pending, text, n);
    n_pending += n;
    return true;
  }

  bool print_pending() noexcept {
    constexpr std::size_t worth_keeping = std::size_t{64} << 10U;
    auto const n = n_pending;
    n_pending = 0;
    bool const done = n == 0 || print(pending, n);
    if (capacity > worth_keeping) {
      std::free(pending);
      pending = nullptr;
      capacity = 0;
    }
    return done;
  }

  /// Takes what the FILE writes: when its buffer is full, at the end of a line, or when it is flushed.
  /// If the text fills the buffer exactly, the part after its last newline is held back until that
  /// line is complete.
  bool take(char const* text, std::size_t n) noexcept {
    auto const block = static_cast<std::size_t>(file->_IO_buf_end - file->_IO_buf_base);
    auto whole = n;
    if (block > 1 && n % block == 0) {
      auto const* const last = static_cast<char const*>(::memrchr(text, '\n', n));
      whole = last == nullptr ? 0 : static_cast<std::size_t>(last - text) + 1;
    }
    if (whole != 0 && n_pending == 0) {
      if (!print(text, whole)) return false;
    } else if (whole != 0) {
      if (!append(text, whole)) {
        if (!print_pending() || !print(text, whole)) return false;
      } else if (!print_pending()) {
        return false;
      }
    }
    if (whole != n && !append(text + whole, n - whole)) {
      return print_pending() && print(text + whole, n - whole);
    }
    return true;
  }
};

/// The buffer with which a C++ stream prints to such a FILE, as a synchronised std::cout does to stdout.
class file_streambuf final : public std::streambuf {
 public:
  explicit file_streambuf(FILE** file) : file_(file) {}

 private:
  int_type overflow(int_type c) override {
    if (traits_type::eq_int_type(c, traits_type::eof())) {
      return std::fflush(*file_) == 0 ? traits_type::not_eof(c) : c;
    }
    return std::putc(c, *file_);
  }
  std::streamsize xsputn(char const* text, std::streamsize n) override {
    return static_cast<std::streamsize>(std::fwrite(text, 1, static_cast<std::size_t>(n), *file_));
  }
  int sync() override { return std::fflush(*file_); }

  FILE** file_;  // of a variable, whose value may change
};

}  // namespace forkmap::detail
