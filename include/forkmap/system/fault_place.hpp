// What is mapped where a process was refused access: noted by itself as it dies, told by its parent.
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

#include <forkmap/system/backtrace.hpp>

namespace forkmap::detail {

/// Whether something is mapped at the address of a fault: a page that must not be written, or one
/// that its file has no bytes for.
inline bool is_refusal(int signal, int code) noexcept {
  return (signal == SIGSEGV && code == SEGV_ACCERR) || (signal == SIGBUS && code == BUS_ADRERR);
}

/// The addresses that a line of /proc/<pid>/maps is about: "7f00a000-7f00b000 ...".
struct mapped_addresses {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::size_t length = 0;  // of their text; 0 if there is none

  /// Allocates nothing and locks nothing.
  static mapped_addresses of(char const* line, std::size_t length) noexcept {
    mapped_addresses found;
    std::uint64_t number = 0;
    for (std::size_t i = 0; i != length; ++i) {
      auto const c = line[i];
      if (c >= '0' && c <= '9') {
        number = number * 16 + static_cast<unsigned>(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        number = number * 16 + static_cast<unsigned>(c - 'a') + 10;
      } else if (c == '-' && found.begin == 0) {
        found.begin = number;
        number = 0;
      } else {
        found.end = number;
        if (c == ' ') found.length = i;
        break;
      }
    }
    return found;
  }
};

/// In a signal handler, after record_backtrace(): looks for the mapping that the fault was in and
/// notes what /proc says of it, behind the frames. Neither allocates nor locks.
/// Cost: as many reads as the process has mappings, 4 KiB each; only the dying pay it.
inline void note_fault_place(raw_backtrace& into) noexcept {
  constexpr std::size_t fewest_frames = 56;  // that are kept in any case
  static char read_here[4096];               // a program's own signal stack may be small
  static char line[(raw_backtrace::most_frames - fewest_frames) * sizeof(std::uint64_t)];
  auto const file = static_cast<int>(
      ::syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC));
  if (file < 0) return;
  std::size_t length = 0;
  bool found = false;
  while (!found) {
    auto const got = ::syscall(SYS_read, file, read_here, sizeof read_here);
    if (got <= 0) break;
    for (long i = 0; i != got && !found; ++i) {
      if (read_here[i] != '\n') {
        if (length != sizeof line) line[length++] = read_here[i];
        continue;
      }
      auto const its = mapped_addresses::of(line, length);
      found = its.begin <= into.fault_address && into.fault_address < its.end;
      if (!found) length = 0;
    }
  }
  ::syscall(SYS_close, file);
  if (!found) return;
  auto const room = (raw_backtrace::most_frames - into.n_frames) * sizeof(std::uint64_t);
  if (room < length) into.n_frames = fewest_frames;
  std::memcpy(into.frames + into.n_frames, line, length);
  into.place_bytes = static_cast<std::uint32_t>(length);
}

/// In the parent: what was noted; empty if nothing was. Only sizes are believed, within limits.
inline std::string fault_place_of(raw_backtrace const& from) {
  auto const n = std::min<std::uint64_t>(from.n_frames, raw_backtrace::most_frames);
  auto const room = (raw_backtrace::most_frames - n) * sizeof(std::uint64_t);
  return {reinterpret_cast<char const*>(from.frames + n),
          std::min<std::size_t>(from.place_bytes, room)};
}

/// ": byte 8128 of /tmp/out.npy, which was read-only there"; empty for what is no file's.
/// `place`: a line of /proc/<pid>/maps, "begin-end rw-s offset device inode   path".
inline std::string text_of_fault_place(std::string_view place, int signal, std::uint64_t address,
                                       bool was_code) {
  auto const its = mapped_addresses::of(place.data(), place.size());
  auto const slash = place.find('/');
  constexpr std::size_t rights_bytes = 4;
  if (its.length == 0 || slash == place.npos || its.length + 1 + rights_bytes > slash) return {};
  auto const rights = place.substr(its.length + 1, rights_bytes);
  std::string const offset(place.substr(its.length + 1 + rights_bytes, 17));
  auto const byte = address - its.begin + std::strtoull(offset.c_str(), nullptr, 16);
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
  if (was_code) return text + ", which is no code";
  if (rights[0] != 'r') return text + ", which must not be touched there";
  if (rights[1] != 'w') return text + ", which was read-only there";
  return text;
}

}  // namespace forkmap::detail
