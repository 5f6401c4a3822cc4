// Errors of system calls: each names the operation, the object and the cause.
// SPDX-License-Identifier: MIT
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>

namespace forkmap::detail {

/// Throws std::system_error for `code`, reading "forkmap: open /data/x.npy: Permission denied".
[[noreturn]] inline void throw_system_error(int code, std::string_view operation,
                                            std::string_view object = {}) {
  std::string text = "forkmap: ";
  text += operation;
  if (!object.empty()) {
    text += ' ';
    text += object;
  }
  throw std::system_error(code, std::system_category(), text);
}

/// The same for the current errno.
[[noreturn]] inline void throw_errno(std::string_view operation, std::string_view object = {}) {
  throw_system_error(errno, operation, object);
}

/// Repeats a system call as long as signals interrupt it.
template <class Call> auto retry_interrupted(Call call) {
  for (;;) {
    auto const result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

}  // namespace forkmap::detail
