// The error of a fork that the system refuses.
// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include <forkmap/detail/os/call.hpp>

namespace forkmap::detail {

/// Whether children of this process are made in another PID namespace than its own: it has called
/// unshare(CLONE_NEWPID). When the first of them ends, no further ones can be made.
inline bool forks_into_other_namespace() noexcept {
  char own[64]{};
  char of_children[64]{};
  return ::readlink("/proc/self/ns/pid", own, sizeof own - 1) > 0 &&
         ::readlink("/proc/self/ns/pid_for_children", of_children, sizeof of_children - 1) > 0 &&
         std::strcmp(own, of_children) != 0;
}

/// Throws std::system_error. `process`: "a worker".
[[noreturn]] inline void throw_fork_error(int code, char const* process) {
  auto const* const why =
      code == ENOMEM && forks_into_other_namespace()
          ? "in a PID namespace whose first process has ended (unshare --pid without --fork?)"
          : "";
  throw_system_error(code, "fork of", std::string(process) + (*why != '\0' ? " " : "") + why);
}

}  // namespace forkmap::detail
