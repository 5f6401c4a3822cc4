// An open file descriptor, closed with its owner.
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <utility>

namespace forkmap::detail {

/// Owns one file descriptor; empty (-1) after default construction and after a move.
class descriptor {
 public:
  descriptor() = default;
  explicit descriptor(int fd) noexcept : fd_(fd) {}
  descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~descriptor() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

  void reset() noexcept {
    // Linux frees the descriptor even when close() is interrupted: never call it twice.
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

/// Moves `fd` to a high number, if one is free, so that no stale number in the program refers to it.
inline void move_up(descriptor& fd) noexcept {
  for (int const lowest : {1000, 200}) {
    descriptor high(::fcntl(fd.get(), F_DUPFD_CLOEXEC, lowest));
    if (!high) continue;
    fd = std::move(high);
    return;
  }
}

}  // namespace forkmap::detail
