// The processes that a process has started, and theirs.
#pragma once

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include <forkmap/system/descriptor.hpp>
#include <forkmap/system/text_file.hpp>

namespace forkmap::detail {

/// The state letter of a process in /proc, '\0' if there is none: Z and X are dead.
inline char process_state(pid_t pid) {
  auto const stat = read_text_file("/proc/" + std::to_string(pid) + "/stat");
  auto const name_end = stat.rfind(')');  // the name may hold anything
  return name_end == stat.npos || name_end + 2 >= stat.size() ? '\0' : stat[name_end + 2];
}

/// Calls visit(pid) for each child of a process that is alive.
/// Returns: how many there are.
/// Source: Linux, proc(5), /proc/pid/task/tid/children.
template <class Visit> int for_each_living_child(pid_t parent, Visit const& visit) {
  auto const tasks = "/proc/" + std::to_string(parent) + "/task";
  struct open_folder {
    DIR* stream;
    explicit open_folder(char const* path) noexcept : stream(::opendir(path)) {}
    open_folder(open_folder const&) = delete;
    open_folder& operator=(open_folder const&) = delete;
    ~open_folder() {
      if (stream != nullptr) ::closedir(stream);
    }
  } const folder(tasks.c_str());
  int n = 0;
  while (auto const* entry = folder.stream != nullptr ? ::readdir(folder.stream) : nullptr) {
    if (entry->d_name[0] == '.') continue;
    auto const children = read_text_file(tasks + '/' + entry->d_name + "/children");
    for (auto const* at = children.c_str(); *at != '\0';) {
      char* rest = nullptr;
      auto const child = static_cast<pid_t>(std::strtol(at, &rest, 10));
      if (rest == at) break;
      at = rest + (*rest == ' ' ? 1 : 0);
      auto const state = process_state(child);
      if (state == '\0' || state == 'Z' || state == 'X') continue;
      visit(child);
      ++n;
    }
  }
  return n;
}

/// Kills all that `parent` has started, and all that those have, but not itself. It must be the
/// reaper of its orphans (PR_SET_CHILD_SUBREAPER), so that none escapes by losing its parent; it is
/// stopped meanwhile, so that it starts no more, and collects none: their numbers stay theirs.
/// Cost: two small files of /proc, if there is nobody to kill.
inline void kill_descendants(pid_t parent, int parent_handle) {
  if (for_each_living_child(parent, [](pid_t) {}) == 0) return;
  ::syscall(SYS_pidfd_send_signal, parent_handle, SIGSTOP, nullptr, 0);
  constexpr int most_generations = 1000;
  for (int generation = 0; generation != most_generations; ++generation) {
    if (for_each_living_child(parent, [](pid_t child) { ::kill(child, SIGKILL); }) == 0) return;
    // When one is dead its children belong to `parent`. One that cannot die is left alone.
    for_each_living_child(parent, [](pid_t child) {
      constexpr int patience_ms = 100;
      descriptor const handle(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
      pollfd end{.fd = handle.get(), .events = POLLIN, .revents = 0};
      if (handle) ::poll(&end, 1, patience_ms);
    });
  }
}

}  // namespace forkmap::detail
