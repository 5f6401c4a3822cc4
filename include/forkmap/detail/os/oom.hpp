// The number of processes that the kernel has killed for lack of memory.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include <forkmap/detail/made_once.hpp>
#include <forkmap/detail/os/file.hpp>

namespace forkmap::detail {

/// The number after `name` in a text of "name number" lines; 0 if there is no such line.
inline std::uint64_t number_behind(char const* text, char const* name) noexcept {
  auto const length = std::strlen(name);
  while (text != nullptr) {
    if (std::strncmp(text, name, length) == 0 && text[length] == ' ')
      return std::strtoull(text + length + 1, nullptr, 10);
    text = std::strchr(text, '\n');
    if (text != nullptr) ++text;
  }
  return 0;
}

/// The files in which cgroups count processes killed for lack of memory, each name terminated by '\0';
/// empty if there are none. `membership` is the text of /proc/self/cgroup, `root` the folder where
/// cgroups are mounted. In a container, the folders named in `membership` may not exist: then the file
/// of the nearest parent folder that exists is used.
/// Source: Linux, Documentation/admin-guide/cgroup-v2.rst, memory.events; cgroup-v1/memory.rst.
inline std::string oom_files(std::string const& membership, std::string const& root) {
  std::string files;
  auto const add = [&](std::string const& base, std::string group, char const* name) {
    for (;;) {
      if (auto const file = base + group + name; !read_text_file(file).empty()) {
        files.append(file.c_str(), file.size() + 1);
        return;
      }
      if (group.empty()) return;
      group.resize(group.rfind('/') == group.npos ? 0 : group.rfind('/'));
    }
  };
  for (std::size_t at = 0; at < membership.size();) {
    auto const end = std::min(membership.find('\n', at), membership.size());
    auto const line = membership.substr(at, end - at);
    at = end + 1;
    if (line.compare(0, 3, "0::") == 0) {
      add(root, line.substr(3), "/memory.events");
    } else if (auto const memory = line.find(":memory:"); memory != line.npos) {
      add(root + "/memory", line.substr(memory + 8), "/memory.oom_control");
    }
  }
  return files;
}

inline std::uint64_t oom_kills(std::string const& files) {
  std::uint64_t kills = 0;
  auto const* const end = files.data() + files.size();
  for (auto const* file = files.data(); file != end; file += std::strlen(file) + 1) {
    char text[1024];  // not on the heap, whose pages cost a copy each after a fork
    read_text_file(file, text);
    kills += number_behind(text, "oom_kill");
  }
  return kills;
}

/// Tells whether the kernel has killed a process for lack of memory since the last call.
class oom_counter {
 public:
  oom_counter() { static_cast<void>(last_seen()); }

  bool has_killed() const {
    auto const now = count();
    return last_seen().exchange(now) < now;
  }

 private:
  static std::uint64_t count() {
    static constinit std::atomic<std::string const*> files = nullptr;
    return oom_kills(made_once(
        files, [] { return oom_files(read_text_file("/proc/self/cgroup"), "/sys/fs/cgroup"); }));
  }
  static std::atomic<std::uint64_t>& last_seen() {
    static constinit std::atomic<std::atomic<std::uint64_t>*> seen = nullptr;
    return made_once(seen, [] { return count(); });
  }
};

}  // namespace forkmap::detail
