// Source lines of code addresses, found by the program addr2line.
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/descriptor.hpp>

namespace forkmap::detail {

/// Whether the user has asked for source lines, with the environment variable FORKMAP_ADDR2LINE.
inline bool wants_source_lines() noexcept {
  auto const* const value = std::getenv("FORKMAP_ADDR2LINE");
  return value != nullptr && *value != '\0' && std::strcmp(value, "0") != 0;
}

/// Runs addr2line, of GNU binutils or LLVM, for an address relative to where the file is loaded.
/// Returns: "parse.cpp:7"; empty if there is no debug information or no addr2line.
/// Cost: a new process, which reads the file's debug information: 10 ms and more.
inline std::string source_line_of(std::string const& file, std::string const& address) {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  descriptor const reading(ends[0]);
  descriptor writing(ends[1]);

  std::string text[] = {"addr2line", "-e", file, address};
  char* arguments[] = {text[0].data(), text[1].data(), text[2].data(), text[3].data(), nullptr};
  posix_spawn_file_actions_t actions;
  if (::posix_spawn_file_actions_init(&actions) != 0) return {};
  ::posix_spawn_file_actions_adddup2(&actions, writing.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  auto const error = ::posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments, ::environ);
  ::posix_spawn_file_actions_destroy(&actions);
  writing.reset();
  if (error != 0) return {};

  std::string line;
  char bytes[1024];
  for (;;) {
    auto const n = retry_interrupted([&] { return ::read(reading.get(), bytes, sizeof bytes); });
    if (n <= 0) break;
    line.append(bytes, static_cast<std::size_t>(n));
  }
  int status = 0;
  retry_interrupted([&] { return ::waitpid(pid, &status, 0); });

  line.resize(std::min(line.find('\n'), line.size()));
  line.erase(0, line.rfind('/') + 1);  // npos + 1 is 0
  auto const colon = line.rfind(':');
  // "??:0", "parse.cpp:?": unknown.
  bool const is_known = colon != line.npos && line.compare(0, 2, "??") != 0 &&
                        line.compare(colon, 2, ":?") != 0 &&
                        line.compare(colon, line.npos, ":0") != 0;
  return is_known ? line : std::string();
}

}  // namespace forkmap::detail
