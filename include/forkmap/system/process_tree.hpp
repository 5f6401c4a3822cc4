// The processes that a process has started, and theirs.
#pragma once

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/system/descriptor.hpp>
#include <forkmap/system/text_file.hpp>

namespace forkmap::detail {

/// The state letter of a process in /proc, '\0' if there is none: Z and X are dead.
inline char process_state(pid_t pid) {
  auto const stat = read_text_file("/proc/" + std::to_string(pid) + "/stat");
  auto const name_end = stat.rfind(')');  // the name may hold anything
  return name_end == stat.npos || name_end + 2 >= stat.size() ? '\0' : stat[name_end + 2];
}

/// The children of a process that are alive.
/// Source: Linux, proc(5), /proc/pid/task/tid/children.
inline std::vector<pid_t> living_children(pid_t parent) {
  std::vector<pid_t> living;
  auto const tasks = "/proc/" + std::to_string(parent) + "/task";
  std::unique_ptr<DIR, int (*)(DIR*)> const folder(::opendir(tasks.c_str()), ::closedir);
  while (auto const* entry = folder != nullptr ? ::readdir(folder.get()) : nullptr) {
    if (entry->d_name[0] == '.') continue;
    auto const children = read_text_file(tasks + '/' + entry->d_name + "/children");
    for (auto const* at = children.c_str(); *at != '\0';) {
      char* rest = nullptr;
      auto const child = static_cast<pid_t>(std::strtol(at, &rest, 10));
      if (rest == at) break;
      at = rest + (*rest == ' ' ? 1 : 0);
      auto const state = process_state(child);
      if (state != '\0' && state != 'Z' && state != 'X') living.push_back(child);
    }
  }
  return living;
}

/// Kills all that `parent` has started, and all that those have, but not itself. It must be the
/// reaper of its orphans (PR_SET_CHILD_SUBREAPER), so that none escapes by losing its parent; it is
/// stopped meanwhile, so that it starts no more.
/// Cost: two small files of /proc, if there is nobody to kill.
inline void kill_descendants(pid_t parent, int parent_handle) {
  bool stopped = false;
  constexpr int most_generations = 1000;
  for (int generation = 0; generation != most_generations; ++generation) {
    auto const children = living_children(parent);
    if (children.empty()) return;
    if (!std::exchange(stopped, true)) {
      ::syscall(SYS_pidfd_send_signal, parent_handle, SIGSTOP, nullptr, 0);
      continue;  // it may have started more
    }
    std::vector<descriptor> handles;
    std::vector<pollfd> ends;
    for (auto const child : children) {
      descriptor handle(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
      if (!handle) continue;
      ::syscall(SYS_pidfd_send_signal, handle.get(), SIGKILL, nullptr, 0);
      ends.push_back({handle.get(), POLLIN, 0});
      handles.push_back(std::move(handle));
    }
    // When it is dead its children belong to `parent`. One that cannot die is left alone.
    constexpr int patience_ms = 100;
    for (auto& end : ends) ::poll(&end, 1, patience_ms);
  }
}

}  // namespace forkmap::detail
