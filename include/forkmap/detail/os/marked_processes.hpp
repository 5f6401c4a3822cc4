// Processes that carry a mark (process_mark.hpp): found in /proc, and killed.
//
// All functions may be called in a signal handler: they use only system calls and a few kilobytes of
// stack.
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/os/process_mark.hpp>

namespace forkmap::detail {

/// Reads the beginning of a file, as much as fits, into a buffer and terminates it with '\0'.
/// Returns: the number of bytes read; 0 if the file cannot be read.
template <std::size_t N> std::size_t read_whole(char const* path, char (&text)[N]) noexcept {
  auto const file = bound().syscall(SYS_openat, static_cast<long>(AT_FDCWD), path,
                                    static_cast<long>(O_RDONLY | O_CLOEXEC), 0L);
  std::size_t done = 0;
  while (file >= 0 && done < N - 1) {
    auto const got = bound().syscall(SYS_read, file, text + done, N - 1 - done);
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  if (file >= 0) bound().syscall(SYS_close, file);
  text[done] = '\0';
  return done;
}

/// The same for the file /proc/<pid>/<name>.
template <std::size_t N>
std::size_t read_process_file(pid_t pid, char const* name, char (&text)[N]) noexcept {
  char path[48] = "/proc/";
  char digits[12];
  int n_digits = 0;
  for (auto left = pid; left > 0; left /= 10)
    digits[n_digits++] = static_cast<char>('0' + left % 10);
  auto* at = path + 6;
  while (n_digits != 0) *at++ = digits[--n_digits];
  *at++ = '/';
  std::strcpy(at, name);
  return read_whole(path, text);
}

/// The state letter of a process and its parent's pid; the letter is '\0' if there is no such process.
/// Source: Linux, proc(5), /proc/pid/stat.
struct process_stat {
  char state = '\0';
  pid_t parent = 0;

  bool is_alive() const noexcept { return state != '\0' && state != 'Z' && state != 'X'; }

  static process_stat of(pid_t pid) noexcept {
    char text[512];
    if (read_process_file(pid, "stat", text) == 0) return {};
    auto const* name_end = std::strrchr(text, ')');  // the name may contain ')' itself
    if (name_end == nullptr || name_end[1] == '\0' || name_end[2] == '\0') return {};
    process_stat stat{.state = name_end[2], .parent = 0};
    if (name_end[3] == '\0') return stat;
    for (auto const* at = name_end + 4; *at >= '0' && *at <= '9'; ++at)
      stat.parent = stat.parent * 10 + (*at - '0');
    return stat;
  }
};

/// The mark of a process; no_mark if it has none or cannot be read.
struct seen_mark {
  process_mark mark = no_mark;
  bool is_gone = false;  // there is no such process
};

/// Reads the mark of a process. `looks_at_others`: also if the process belongs to another user.
/// Cost: one system call; for a process of another user it also reads a small file.
inline seen_mark mark_of_process(pid_t pid, bool looks_at_others) noexcept {
  rlimit limit{};
  if (bound().syscall(SYS_prlimit64, static_cast<long>(pid), static_cast<long>(RLIMIT_LOCKS),
                      nullptr, &limit) == 0) {
    return {.mark = static_cast<process_mark>(limit.rlim_cur), .is_gone = false};
  }
  if (errno == ESRCH) return {.mark = no_mark, .is_gone = true};
  if (errno != EPERM || !looks_at_others) return {};
  char text[2048];
  if (read_process_file(pid, "limits", text) == 0) return {};
  constexpr char name[] = "Max file locks";
  auto const* at = std::strstr(text, name);
  if (at == nullptr) return {};
  at += sizeof name - 1;
  while (*at == ' ') ++at;
  process_mark mark = 0;
  for (; *at >= '0' && *at <= '9'; ++at) mark = mark * 10 + static_cast<process_mark>(*at - '0');
  return {.mark = mark, .is_gone = false};
}

/// Calls visit(number, descriptor of the folder) for each entry of a folder whose name is a number, in
/// the folder's order. /proc lists processes in ascending order.
template <class Visit> void for_each_numbered(char const* path, Visit const& visit) noexcept {
  auto const folder = bound().syscall(SYS_openat, static_cast<long>(AT_FDCWD), path,
                                      static_cast<long>(O_RDONLY | O_DIRECTORY | O_CLOEXEC), 0L);
  if (folder < 0) return;
  struct entry {  // struct linux_dirent64
    std::uint64_t inode;
    std::int64_t offset;
    unsigned short bytes;
    unsigned char type;
    char name[1];
  };
  alignas(entry) char entries[2048];
  for (;;) {
    auto const got = bound().syscall(SYS_getdents64, folder, entries, sizeof entries);
    if (got <= 0) break;
    for (long at = 0; at < got;) {
      unsigned short bytes = 0;
      std::memcpy(&bytes, entries + at + offsetof(entry, bytes), sizeof bytes);
      int number = 0;
      auto const* name = entries + at + offsetof(entry, name);
      for (; *name >= '0' && *name <= '9'; ++name) number = number * 10 + (*name - '0');
      if (*name == '\0') visit(number, folder);
      at += bytes;
    }
  }
  bound().syscall(SYS_close, folder);
}

/// Kills a process if its mark still is `mark` in the bits of `mask`.
/// Returns: 0, or why it was not killed: EPERM, or ESRCH if it has ended or has another mark.
inline int kill_if_marked(pid_t pid, process_mark mark, process_mark mask,
                          bool looks_at_others) noexcept {
  // Open first, then check the mark: the descriptor never refers to another process with the same pid.
  long const handle = open_process_handle(pid);
  auto const seen = mark_of_process(pid, looks_at_others);
  int why = ESRCH;
  if ((seen.mark & mask) == mark) {
    bool sent = handle >= 0 && bound().syscall(SYS_pidfd_send_signal, handle,
                                               static_cast<long>(SIGKILL), nullptr, 0L) == 0;
    if (!sent && (handle < 0 || errno != ESRCH)) {
      sent = bound().syscall(SYS_kill, static_cast<long>(pid), static_cast<long>(SIGKILL)) == 0;
    }
    why = sent ? 0 : errno;
  }
  if (handle >= 0) bound().syscall(SYS_close, handle);
  return why;
}

/// Marked processes that kill_marked() has not killed.
struct left_processes {
  pid_t refused = 0;  // one that this process may not kill; 0: none
  bool any = false;   // some had not ended in time
};

/// Whether all processes started since the first noted one were forked by this process. If so, there are
/// no others to search for.
class own_births {
 public:
  /// Notes that this process has forked `pid`. Pids are expected in the order of the forks.
  void note(pid_t pid) noexcept {
    if (oldest_ == 0)
      oldest_ = pid;
    else if (pid != youngest_ + 1)
      are_all_ = false;
    youngest_ = pid;
  }

  pid_t oldest() const noexcept { return oldest_; }

  /// Whether no other process or thread of this machine, or container, has started since the first fork.
  /// Source: Linux, proc(5), /proc/loadavg, the last field.
  bool are_all() noexcept {
    if (!are_all_) return false;
    char text[128];
    read_whole("/proc/loadavg", text);
    pid_t last = 0;
    if (auto const* at = std::strrchr(text, ' '); at != nullptr) {
      for (++at; *at >= '0' && *at <= '9'; ++at) last = last * 10 + (*at - '0');
    }
    are_all_ = last == youngest_;
    return are_all_;
  }

 private:
  pid_t oldest_ = 0;
  pid_t youngest_ = 0;
  bool are_all_ = true;
};

/// Kills all processes, except this one, whose mark is `mark` in the bits of `mask`. Repeats the search
/// until no more appear, or for `patience_ns`: a process may fork and exit faster than it is seen.
/// `oldest`: the first process that may carry the mark. Processes of other users with larger pids are
/// searched too, and reported as refused if this process may not kill them; 0: only root searches them.
/// Cost: about 1 us for each process of the machine.
inline left_processes kill_marked(process_mark mark, process_mark mask, std::int64_t patience_ns,
                                  pid_t oldest = 0) noexcept {
  if (mark == no_mark) return {};
  auto const self = static_cast<pid_t>(bound().syscall(SYS_getpid));
  bool const is_root = bound().syscall(SYS_geteuid) == 0;
  auto const until = nanoseconds_now() + patience_ns;
  int exited_before = 0;
  for (;;) {
    left_processes remaining;
    int living = 0, exited = 0, vanished = 0;
    for_each_numbered("/proc", [&](pid_t pid, long) {
      if (pid == self) return;
      bool const looks_at_others = is_root || (oldest != 0 && pid > oldest);
      auto const seen = mark_of_process(pid, looks_at_others);
      vanished += seen.is_gone ? 1 : 0;
      if ((seen.mark & mask) != mark) return;
      if (!process_stat::of(pid).is_alive()) {
        ++exited;
        return;
      }
      auto const why = kill_if_marked(pid, mark, mask, looks_at_others);
      if (why == EPERM)
        remaining.refused = pid;
      else
        ++living;
    });
    // A process that has exited, or that vanished during this pass, may have forked another one that
    // this pass was too early to see.
    if (living == 0 && vanished == 0 && exited == exited_before) return remaining;
    exited_before = exited;
    remaining.any = living != 0;
    if (nanoseconds_now() >= until) return remaining;
    timespec const pause{.tv_sec = 0, .tv_nsec = living != 0 ? 200'000 : 0};
    bound().syscall(SYS_nanosleep, &pause, nullptr);
  }
}

/// Reaps the children of this process that carry such a mark and have exited. This process has not
/// forked them: it has inherited them as PID 1 or as a subreaper.
inline void collect_marked_children(process_mark mark, process_mark mask) noexcept {
  auto const self = static_cast<pid_t>(bound().syscall(SYS_getpid));
  bool const looks_at_others = bound().syscall(SYS_geteuid) == 0;
  for_each_numbered("/proc", [&](pid_t pid, long) {
    if ((mark_of_process(pid, looks_at_others).mark & mask) != mark) return;
    auto const stat = process_stat::of(pid);
    if (stat.state == 'Z' && stat.parent == self) {
      bound().syscall(SYS_wait4, static_cast<long>(pid), nullptr, static_cast<long>(WNOHANG),
                      nullptr);
    }
  });
}

}  // namespace forkmap::detail
