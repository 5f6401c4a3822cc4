// Lists of processes, read from /proc.
// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace support {

/// One line of /proc/<pid>/stat.
struct process {
  pid_t pid = 0;
  pid_t parent = 0;
  char state = '?';  // 'Z': a zombie, which has exited and has not been waited for
  std::string name{};
};

/// Returns: nothing if there is no such process.
inline std::optional<process> find_process(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  // Not read by stream iterators: they throw if the process ends between open and read.
  std::string line(4096, '\0');
  file.read(line.data(), static_cast<std::streamsize>(line.size()));
  line.resize(static_cast<std::size_t>(file.gcount()));
  // The name is in parentheses and may contain any character, so the last parenthesis ends it.
  auto const open = line.find('(');
  auto const close = line.rfind(')');
  if (open == std::string::npos || close == std::string::npos) return std::nullopt;
  process found{.pid = pid, .name = line.substr(open + 1, close - open - 1)};
  std::istringstream(line.substr(close + 1)) >> found.state >> found.parent;
  return found;
}

/// Whether `pid` is running. A zombie is not.
inline bool is_running(pid_t pid) {
  auto const found = find_process(pid);
  return found && found->state != 'Z' && found->state != 'X';
}

inline std::vector<process> all_processes() {
  std::vector<process> all;
  for (auto const& entry : std::filesystem::directory_iterator("/proc")) {
    std::string const name = entry.path().filename();
    pid_t pid = 0;
    auto const [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || end != name.data() + name.size()) continue;
    if (auto found = find_process(pid)) all.push_back(*std::move(found));
  }
  return all;
}

/// The running descendants of `ancestor`, without zombies. A process whose parent has exited is a
/// child of init and no longer a descendant: list descendants before their parent ends.
inline std::vector<pid_t> child_processes(pid_t ancestor = ::getpid()) {
  auto const all = all_processes();
  std::vector<pid_t> family{ancestor};
  for (std::size_t next = 0; next < family.size(); ++next)
    for (auto const& candidate : all)
      if (candidate.parent == family[next] && candidate.state != 'Z')
        family.push_back(candidate.pid);
  family.erase(family.begin());
  return family;
}

}  // namespace support
