// How often the kernel has killed for want of memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include <forkmap/system/text_file.hpp>

namespace forkmap::detail {

/// The number behind `name` in a text of "name number" lines; 0 if it is not there.
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

/// The files that count the processes of a cgroup that the kernel has killed, each with a 0 behind
/// its name; none if it cannot be told. `membership` is the text of /proc/self/cgroup, `root` the
/// folder where cgroups are mounted. In a container the names of the folders above its own may be
/// unknown to it: then it is the nearest parent's file that there is.
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
    char text[1024];  // not on the heap, whose pages a fork has just made dear
    read_text_file(file, text);
    kills += number_behind(text, "oom_kill");
  }
  return kills;
}

/// Tells whether the kernel has killed since this process last asked.
class oom_counter {
 public:
  oom_counter() { static_cast<void>(last_seen()); }

  bool has_killed() const {
    auto const now = count();
    return last_seen().exchange(now) < now;
  }

 private:
  static std::uint64_t count() {
    static auto const files = oom_files(read_text_file("/proc/self/cgroup"), "/sys/fs/cgroup");
    return oom_kills(files);
  }
  static std::atomic<std::uint64_t>& last_seen() {
    static std::atomic<std::uint64_t> seen = count();
    return seen;
  }
};

}  // namespace forkmap::detail
