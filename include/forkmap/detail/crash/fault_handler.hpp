// The fault handler of a worker, which notes the signal, the backtrace and the mapping at the address.
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <forkmap/detail/crash/backtrace.hpp>
#include <forkmap/detail/os/bound.hpp>
#include <forkmap/this_task.hpp>

namespace forkmap::detail {

// The mapping at the address of a fault: noted by the crashing process, reported by its parent.

/// Whether something is mapped at the address of a fault: a page that does not permit the access
/// (SEGV_ACCERR), or a page beyond the end of its file (BUS_ADRERR).
inline bool is_refusal(int signal, int code) noexcept {
  return (signal == SIGSEGV && code == SEGV_ACCERR) || (signal == SIGBUS && code == BUS_ADRERR);
}

/// The address range at the beginning of a line of /proc/<pid>/maps: "7f00a000-7f00b000 ...".
struct mapped_addresses {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::size_t length = 0;  // of the range's text; 0 if the line has none

  /// Parses a line. Neither allocates nor locks.
  static mapped_addresses of(char const* line, std::size_t length) noexcept {
    mapped_addresses range;
    std::uint64_t number = 0;
    for (std::size_t i = 0; i != length; ++i) {
      auto const c = line[i];
      if (c >= '0' && c <= '9') {
        number = number * 16 + static_cast<unsigned>(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        number = number * 16 + static_cast<unsigned>(c - 'a') + 10;
      } else if (c == '-' && range.begin == 0) {
        range.begin = number;
        number = 0;
      } else {
        range.end = number;
        if (c == ' ') range.length = i;
        break;
      }
    }
    return range;
  }
};

/// Called in a signal handler after record_backtrace(): copies the line of /proc/self/maps for the
/// mapping at the fault address, behind the frames. Neither allocates nor locks.
/// Cost: reads /proc/self/maps up to that line, at most 4 KiB at a time; only in a crashing process.
inline void note_fault_place(raw_backtrace& into) noexcept {
  constexpr std::size_t fewest_frames = 56;  // that are always kept
  static char read_here[4096];               // static: a program's signal stack may be small
  static char line[(raw_backtrace::most_frames - fewest_frames) * sizeof(std::uint64_t)];
  auto const file =
      static_cast<int>(::syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC));
  if (file < 0) return;
  std::size_t length = 0;
  bool is_found = false;
  while (!is_found) {
    auto const got = ::syscall(SYS_read, file, read_here, sizeof read_here);
    if (got <= 0) break;
    for (long i = 0; i != got && !is_found; ++i) {
      if (read_here[i] != '\n') {
        if (length != sizeof line) line[length++] = read_here[i];
        continue;
      }
      auto const range = mapped_addresses::of(line, length);
      is_found = range.begin <= into.fault_address && into.fault_address < range.end;
      if (!is_found) length = 0;
    }
  }
  ::syscall(SYS_close, file);
  if (!is_found) return;
  auto const room = (raw_backtrace::most_frames - into.n_frames) * sizeof(std::uint64_t);
  if (room < length) into.n_frames = fewest_frames;
  std::memcpy(into.frames + into.n_frames, line, length);
  into.place_bytes = static_cast<std::uint32_t>(length);
}

/// In the parent: the noted line; empty if there is none. The worker may have overwritten it: only the
/// sizes are used, and they are limited.
inline std::string fault_place_of(raw_backtrace const& from) {
  auto const n = n_frames_of(from);
  auto const room = (raw_backtrace::most_frames - n) * sizeof(std::uint64_t);
  return {reinterpret_cast<char const*>(from.frames + n),
          std::min<std::size_t>(from.place_bytes, room)};
}

/// Describes a fault: ": byte 8128 of /tmp/out.npy, which was read-only there". Empty if no file is
/// mapped there.
/// `place`: a line of /proc/<pid>/maps, "begin-end rw-s offset device inode   path".
inline std::string text_of_fault_place(std::string_view place, int signal, std::uint64_t address,
                                       bool was_code) {
  auto const range = mapped_addresses::of(place.data(), place.size());
  auto const slash = place.find('/');
  constexpr std::size_t rights_bytes = 4;
  if (range.length == 0 || slash == place.npos || range.length + 1 + rights_bytes > slash)
    return {};
  auto const rights = place.substr(range.length + 1, rights_bytes);
  std::string const offset(place.substr(range.length + 1 + rights_bytes, 17));
  auto const byte = address - range.begin + std::strtoull(offset.c_str(), nullptr, 16);
  std::string const path(place.substr(slash));

  std::string text = ": byte " + std::to_string(byte) + " of ";
  if (path == "/memfd:forkmap-array (deleted)") {
    text += "a shared_array";
  } else if (path == "/dev/zero (deleted)") {
    text += "shared memory";
  } else {
    text += path;
  }
  if (signal == SIGBUS) {
    std::error_code error;
    auto const size = std::filesystem::file_size(path, error);
    if (!error && size <= byte) return text + ", which has " + std::to_string(size) + " bytes now";
    return text + ", which cannot be read or written there";
  }
  if (was_code) return text + ", which was not executable there";
  if (rights[0] != 'r') return text + ", which was not accessible there";
  if (rights[1] != 'w') return text + ", which was read-only there";
  return text;
}

// The crash report of a worker: the signal that killed it, and its backtrace.

/// The signals with which an error in a program, or the program itself, ends a process. Not an array:
/// a new worker would take a page fault for it.
using fatal_signals =
    std::integer_sequence<int, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS>;

inline bool is_this_process() noexcept {
  return this_process.pid == static_cast<int>(::syscall(SYS_getpid));
}

/// Writes the crash report, and lets the signal end the process.
inline void on_fatal_signal(int signal, siginfo_t* info, void* context) {
  if (is_this_process()) {
    record_backtrace(*this_process.words, this_process.number, signal, info, context);
    if (is_refusal(signal, info->si_code)) note_fault_place(*this_process.words);
  }
  // SA_RESETHAND has restored the default action. A fault occurs again when this handler returns. A
  // signal that was sent is raised again here, and delivered when the process unblocks it.
  if (info == nullptr || info->si_code <= 0) ::raise(signal);
}

/// Notes the backtrace, then waits until another process kills this one, unless options::grace gives the
/// task some time.
inline void on_probe(int signal, siginfo_t* info, void* context) {
  if (!is_this_process()) return;
  record_backtrace(*this_process.words, this_process.number, signal, info, context);
  if (!this_process.has_grace) wait_for_end();
}

/// In a new worker: installs both handlers. Handlers that the program or a sanitizer has installed are
/// kept, and so is their signal stack.
[[gnu::hot]] inline void install_crash_handler(raw_backtrace& into, std::uint32_t whose,
                                               int probe_signal) noexcept {
  this_process.words = &into;
  this_process.number = whose;
  this_process.pid = static_cast<int>(bound().syscall(SYS_getpid));

  // After a stack overflow, the handler cannot run on the same stack.
  alignas(16) static std::byte stack[std::size_t{64} << 10U];
  stack_t before{};
  bound().syscall(SYS_sigaltstack, nullptr, &before);
  if ((before.ss_flags & SS_DISABLE) != 0) {
    stack_t const own{.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof stack};
    bound().syscall(SYS_sigaltstack, &own, nullptr);
  }

  struct sigaction fatal{};
  fatal.sa_sigaction = on_fatal_signal;
  fatal.sa_flags = SA_SIGINFO | SA_ONSTACK | static_cast<int>(SA_RESETHAND);
  auto const install = [&](int signal) {
    struct sigaction program{};
    bound().sigaction(signal, &fatal, &program);
    // Install first, then restore: one call if the program has no handler.
    if ((program.sa_flags & SA_SIGINFO) != 0 || program.sa_handler != SIG_DFL) {
      bound().sigaction(signal, &program, nullptr);
    }
  };
  [&]<int... Signal>(std::integer_sequence<int, Signal...>) {
    (install(Signal), ...);
  }(fatal_signals());
  if (probe_signal != 0) {
    struct sigaction probe{};
    probe.sa_sigaction = on_probe;
    probe.sa_flags = SA_SIGINFO | SA_ONSTACK;
    bound().sigaction(probe_signal, &probe, nullptr);
  }
}

/// A real-time signal without a handler in this process, other than `other`; 0 if there is none. Never
/// one of the last two, which qemu-user does not deliver.
/// Source: qemu, linux-user/signal.c, signal_table_init().
inline int unused_signal(int other = 0) noexcept {
  for (int signal = SIGRTMAX - 2; signal >= SIGRTMIN; --signal) {
    if (signal == other) continue;
    struct sigaction program{};
    if (::sigaction(signal, nullptr, &program) == 0 && (program.sa_flags & SA_SIGINFO) == 0 &&
        program.sa_handler == SIG_DFL) {
      return signal;
    }
  }
  return 0;
}

}  // namespace forkmap::detail
