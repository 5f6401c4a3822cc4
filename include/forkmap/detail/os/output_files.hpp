// Files that keep what the tasks of each worker print, and lines with a prefix.
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/descriptor.hpp>

namespace forkmap::detail {

/// The most bytes of a task's output that are kept.
inline constexpr std::size_t most_output_bytes = std::size_t{64} << 10U;

/// The size of a file; 0 if it cannot be asked for.
inline std::uint64_t size_of_file(int fd) noexcept {
  struct stat status{};
  return ::fstat(fd, &status) == 0 && status.st_size > 0
             ? static_cast<std::uint64_t>(status.st_size)
             : 0;
}

/// At most n bytes of a file from `begin` on.
inline std::string text_at(int fd, std::uint64_t begin, std::size_t most) {
  std::string text(most, '\0');
  std::size_t n = 0;
  while (n != most) {
    auto const got = ::pread(fd, text.data() + n, most - n, static_cast<off_t>(begin + n));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    n += static_cast<std::size_t>(got);
  }
  text.resize(n);
  return text;
}

/// The last bytes of a file.
inline std::string end_of_text(int fd) {
  auto const size = size_of_file(fd);
  return text_at(fd, size - std::min<std::uint64_t>(size, most_output_bytes), most_output_bytes);
}

/// Calls print(text) with whole lines of a file from `begin` on, and with its incomplete last line if
/// `all` is set. Reads limited pieces and skips holes, so that it does not matter how large a task has
/// made the file.
/// Returns: where the printed text ends.
template <class Print>
std::uint64_t print_lines(int fd, std::uint64_t begin, bool all, Print const& print) {
  if (begin > size_of_file(fd)) begin = 0;  // a program has truncated the file
  constexpr std::size_t longest_line = std::size_t{1} << 20U;
  std::string line;  // the begin of one that is longer than a piece
  auto at = begin;
  for (;;) {
    auto const data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0) break;
    at = static_cast<std::uint64_t>(data);
    auto text = text_at(fd, at, most_output_bytes);
    if (text.empty()) break;
    at += text.size();
    auto const whole = text.rfind('\n') + 1;
    if (whole != 0 || line.size() >= longest_line) {
      auto const n = whole != 0 ? whole : text.size();
      print(line.append(text, 0, n));
      line.assign(text, n);
      begin = at - line.size();
    } else {
      line += text;
    }
  }
  if (!all || line.empty()) return begin;
  print(line);
  return at;
}

/// The text with "[task] " before each line. An incomplete last line gets its end.
inline std::string with_prefix(std::uint64_t task, std::string const& text) {
  auto const prefix = '[' + std::to_string(task) + "] ";
  std::string lines;
  for (std::size_t at = 0; at != text.size();) {
    auto const end = std::min(text.find('\n', at), text.size() - 1) + 1;
    lines += prefix;
    lines.append(text, at, end - at);
    at = end;
  }
  if (!lines.empty() && lines.back() != '\n') lines += '\n';
  return lines;
}

/// Frees the memory of the first n bytes of a file in memory.
inline void free_begin(int fd, std::uint64_t n) noexcept {
  ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(n));
}

/// Two files in memory for each worker, which its processes and the caller share. A worker's stdout and
/// stderr are the same file if their output is kept, and two files if it is printed.
class output_files {
 public:
  output_files() = default;
  /// Errors: std::system_error naming memfd_create.
  output_files(std::uint32_t n_workers, bool are_separate) {
    for (std::uint32_t k = 0; k != n_workers * (are_separate ? 2 : 1); ++k) {
      descriptor made(::memfd_create("forkmap-output", MFD_CLOEXEC));
      if (!made) throw_errno("memfd_create for the output of tasks");
      move_up(made);
      // All processes that print append, whatever position they share.
      ::fcntl(made.get(), F_SETFL, O_APPEND);
      files_.push_back(std::move(made));
    }
    per_worker_ = are_separate ? 2 : 1;
  }

  explicit operator bool() const noexcept { return !files_.empty(); }
  /// The file of worker k for stdout (1) or stderr (2).
  int of(std::uint32_t k, int standard) const noexcept {
    return files_[k * per_worker_ + (per_worker_ == 2 ? static_cast<std::size_t>(standard - 1) : 0)]
        .get();
  }
  /// Frees the memory of what will not be read.
  void trim() const noexcept {
    if (per_worker_ == 2) return;  // workers free what they have printed
    constexpr off_t worth_it = off_t{8} << 20U;
    for (auto const& file : files_) {
      struct stat status{};
      constexpr off_t block = 512;
      if (::fstat(file.get(), &status) != 0 || status.st_blocks * block < worth_it) continue;
      free_begin(file.get(), static_cast<std::uint64_t>(status.st_size) - most_output_bytes);
    }
  }

 private:
  std::vector<descriptor> files_{};
  std::size_t per_worker_ = 1;
};

}  // namespace forkmap::detail
