// An eventfd that other processes share, and whose flags they may change.
// SPDX-License-Identifier: MIT
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

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
