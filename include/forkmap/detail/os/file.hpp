// Files: regular ones of any size, and small text files such as those in /proc.
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/descriptor.hpp>

namespace forkmap::detail {

// Small text files, such as those in /proc.

/// A small text file's content; empty if it cannot be read.
inline std::string read_text_file(std::string const& path) {
  descriptor const file(
      retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  std::string text;
  if (!file) return text;
  char buffer[1024];  // a large buffer would take another page fault after a fork
  for (;;) {
    auto const n = retry_interrupted([&] { return ::read(file.get(), buffer, sizeof buffer); });
    if (n <= 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

/// The same for an array: as much as fits, terminated by '\0'.
template <std::size_t N> void read_text_file(char const* path, char (&text)[N]) noexcept {
  descriptor const file(retry_interrupted([&] { return ::open(path, O_RDONLY | O_CLOEXEC); }));
  ssize_t n = 0;
  if (file) n = retry_interrupted([&] { return ::read(file.get(), text, N - 1); });
  text[n > 0 ? n : 0] = '\0';
}

// Regular files: open, inspect, read, allocate, write. Errors name the call, the file and the cause.

/// The results of fstat() that the library uses, in its own types.
struct file_status {
  dev_t device = 0;
  ino_t inode = 0;
  mode_t mode = 0;
  std::size_t size = 0;
};

/// Opens an existing file. Never waits for the other end of a FIFO, never acquires a terminal.
inline descriptor open_file(std::filesystem::path const& file, bool writable) {
  int const flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  descriptor result(retry_interrupted([&] { return ::open(file.c_str(), flags); }));
  if (!result) throw_errno("open", file.native());
  return result;
}

inline file_status status_of(descriptor const& fd, std::filesystem::path const& file) {
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) throw_errno("fstat", file.native());
  return {status.st_dev, status.st_ino, status.st_mode, static_cast<std::size_t>(status.st_size)};
}

/// What a file of this mode is, if it is not a regular file; else empty.
inline std::string_view irregular(mode_t mode) {
  if (S_ISREG(mode)) return {};
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

/// Reads until `bytes` have been read or the file ends.
/// Returns: how many bytes were read.
inline std::size_t read_at(descriptor const& fd, void* out, std::size_t bytes, std::size_t offset,
                           std::filesystem::path const& file) {
  std::size_t done = 0;
  while (done < bytes) {
    auto const got = retry_interrupted([&] {
      return ::pread(fd.get(), static_cast<char*>(out) + done, bytes - done,
                     static_cast<off_t>(offset + done));
    });
    if (got < 0) throw_errno("read", file.native());
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

/// Writes all of `head` and then all of `data` at the file's position, in one call if possible.
inline void write_all(descriptor const& fd, std::string_view head, void const* data,
                      std::size_t bytes, std::filesystem::path const& file) {
  // writev() takes pointers to non-const, though it only reads.
  auto* next_head = const_cast<char*>(head.data());
  auto* next_data = const_cast<char*>(static_cast<char const*>(data));
  auto head_left = head.size();
  while (head_left + bytes > 0) {
    iovec parts[] = {{next_head, head_left}, {next_data, bytes}};
    auto const skipped = head_left == 0 ? 1 : 0;
    auto const wrote =
        retry_interrupted([&] { return ::writev(fd.get(), parts + skipped, 2 - skipped); });
    if (wrote == 0) errno = EIO;  // or this would loop forever
    if (wrote <= 0) throw_errno("write", file.native());
    // Linux writes at most 2 GiB per call, and less if a signal or a limit interrupts the call.
    auto written = static_cast<std::size_t>(wrote);
    auto const of_head = written < head_left ? written : head_left;
    next_head += of_head;
    head_left -= of_head;
    written -= of_head;
    next_data += written;
    bytes -= written;
  }
}

/// Writes all of `bytes` at `offset`; the file's position does not change.
inline void write_at(descriptor const& fd, std::string_view bytes, std::size_t offset,
                     std::filesystem::path const& file) {
  while (!bytes.empty()) {
    auto const wrote = retry_interrupted(
        [&] { return ::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
    if (wrote == 0) errno = EIO;
    if (wrote <= 0) throw_errno("write", file.native());
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
    offset += static_cast<std::size_t>(wrote);
  }
}

/// Reserves the first `bytes` of the file, so that lack of space is an error now and not a half-written
/// file or a SIGBUS later.
/// Returns: false if the file system cannot reserve space.
inline bool allocate(descriptor const& fd, std::size_t bytes, std::filesystem::path const& file) {
  if (bytes == 0) return true;
  auto const result =
      retry_interrupted([&] { return ::fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes)); });
  if (result == 0) return true;
  if (errno == EOPNOTSUPP || errno == ENOSYS) return false;
  throw_errno("allocate " + std::to_string(bytes) + " bytes for", file.native());
}

inline void resize(descriptor const& fd, std::size_t bytes, std::filesystem::path const& file) {
  auto const call = [&] { return ::ftruncate(fd.get(), static_cast<off_t>(bytes)); };
  if (retry_interrupted(call) != 0) throw_errno("resize", file.native());
}

inline void sync(descriptor const& fd, std::filesystem::path const& file) {
  // Not repeated after EINTR: an I/O error is reported only once, and a second call would miss it.
  if (::fsync(fd.get()) != 0) throw_errno("fsync", file.native());
}

}  // namespace forkmap::detail
