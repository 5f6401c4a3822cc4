// An eventfd that other processes share, and whose flags they may change.
// SPDX-License-Identifier: MIT
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/descriptor.hpp>

namespace forkmap::detail {

// A forked process shares O_NONBLOCK with its parent, so these functions do not rely on it.

/// Errors: std::system_error naming eventfd and `what`.
inline descriptor make_event(char const* what) {
  descriptor event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) throw_errno("eventfd of", what);
  return event;
}

/// Makes the event readable.
inline void raise_event(int event) noexcept {
  pollfd room{event, POLLOUT, 0};
  std::uint64_t const one = 1;
  if (::poll(&room, 1, 0) == 1 && room.revents == POLLOUT)
    retry_interrupted([&] { return ::write(event, &one, sizeof one); });
}

/// Whether `fd` is the open file that `before` describes. A task may have closed all descriptors, and
/// their numbers may belong to other files now.
inline bool is_still(int fd, struct stat const& before) noexcept {
  struct stat now{};
  return ::fstat(fd, &now) == 0 && now.st_ino == before.st_ino && now.st_dev == before.st_dev;
}

/// An event in a worker, whose tasks may close its descriptor.
class kept_event {
 public:
  explicit kept_event(int event) noexcept : event_(event) { ::fstat(event, &status_); }

  /// Makes the event readable. Does nothing if the descriptor was closed: the process that waits
  /// looks again after a while.
  void raise() const noexcept {
    if (!is_still(event_, status_)) return;
    std::uint64_t const one = 1;
    bound().syscall(SYS_write, static_cast<long>(event_), &one, sizeof one);
  }

 private:
  int event_;
  struct stat status_{};
};

/// Makes the event unreadable.
inline void drain_event(int event) noexcept {
  pollfd data{event, POLLIN, 0};
  if (::poll(&data, 1, 0) != 1 || (data.revents & POLLIN) == 0) return;
  std::uint64_t count = 0;
#ifdef RWF_NOWAIT
  iovec const part{&count, sizeof count};
  if (::preadv2(event, &part, 1, -1, RWF_NOWAIT) >= 0) return;
  if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL) return;
#endif
  static_cast<void>(!::read(event, &count, sizeof count));
}

}  // namespace forkmap::detail
