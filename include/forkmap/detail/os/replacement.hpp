// A file that replaces another in one step: completely or not at all.
//
//   1. A file without a name (O_TMPFILE) is opened in the target's directory; where the file system does
//      not support that, a file with a free temporary name.
//   2. The caller allocates and writes. After an error nothing is left: the kernel frees a file without
//      a name, also after a kill; the destructor removes a file with a temporary name.
//   3. commit() links the file to the target's name if that is free. Otherwise it links the file to a
//      free temporary name, and renames that over the target. Readers see the old file or the new one;
//      a process that has mapped the old one keeps it.
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>

#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/descriptor.hpp>
#include <forkmap/detail/os/file.hpp>

namespace forkmap::detail {

class replacement {
 public:
  /// Errors: std::system_error naming `target` if it is not a regular file, may not be written, or its
  ///   directory accepts no new file.
  explicit replacement(std::filesystem::path const& target) : target_(followed(target)) {
    inspect_target();
    directory_ = target_.has_parent_path() ? target_.parent_path() : std::filesystem::path(".");
    open_nameless();
    if (!fd_) open_named();
    if (replaces_) keep_mode();
  }
  replacement(replacement const&) = delete;
  replacement& operator=(replacement const&) = delete;
  ~replacement() { remove_temporary(); }

  descriptor const& fd() const { return fd_; }
  std::filesystem::path const& target() const { return target_; }

  /// Gives the file its name. With `durable`, content and name are on the disk when this returns.
  void commit(bool durable) {
    if (durable) sync(fd_, target_);
    if (temporary_.empty() && !replaces_ && link_to(target_.native())) {
      // Done in one step.
    } else {
      if (temporary_.empty()) link_temporary();
      if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
        throw_errno("replace", target_.native());
      }
      temporary_.clear();
    }
    if (durable) {
      descriptor const directory(
          retry_interrupted([&] { return ::open(directory_.c_str(), O_RDONLY | O_CLOEXEC); }));
      if (!directory) throw_errno("open", directory_.native());
      sync(directory, directory_);
    }
  }

 private:
  /// Follows symbolic links: the file that a link leads to is replaced, not the link.
  static std::filesystem::path followed(std::filesystem::path file) {
    for (int links = 0; links < 40; ++links) {
      char to[4096];
      auto const length = ::readlink(file.c_str(), to, sizeof to);
      if (length < 0) return file;
      auto next = std::filesystem::path(std::string(to, static_cast<std::size_t>(length)));
      file = file.parent_path() / next;  // an absolute `next` replaces all of it
    }
    throw_system_error(ELOOP, "open", file.native());
  }

  void inspect_target() {
    if (!target_.has_filename()) {
      throw_system_error(target_.empty() ? ENOENT : EISDIR, "write", target_.native());
    }
    struct stat status{};
    if (::stat(target_.c_str(), &status) != 0) {
      if (errno == ENOENT) return;
      throw_errno("write", target_.native());
    }
    if (S_ISDIR(status.st_mode)) throw_system_error(EISDIR, "write", target_.native());
    if (auto const kind = irregular(status.st_mode); !kind.empty()) {
      throw_system_error(EINVAL, "write",
                         target_.native() + ", " + std::string(kind) + ", not a regular file");
    }
    // rename() would also replace a file that this process may not write.
    if (::faccessat(AT_FDCWD, target_.c_str(), W_OK, AT_EACCESS) != 0) {
      throw_errno("write", target_.native());
    }
    replaces_ = true;
    mode_ = status.st_mode & 0777U;
  }

  void open_nameless() {
    descriptor fd(retry_interrupted(
        [&] { return ::open(directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666); }));
    // Without /proc the file could not be given a name later.
    if (fd && ::access(own_link(fd).c_str(), F_OK) == 0) fd_ = std::move(fd);
  }

  void open_named() {
    for (;;) {
      auto name = free_name();
      fd_ = descriptor(retry_interrupted(
          [&] { return ::open(name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666); }));
      if (fd_) {
        temporary_ = std::move(name);
        return;
      }
      if (errno != EEXIST) throw_errno("create", target_.native());
    }
  }

  /// Keeps the target's permissions: a private file stays private.
  void keep_mode() {
    if ((status_of(fd_, target_).mode & 0777U) == mode_) return;
    if (::fchmod(fd_.get(), mode_) != 0) throw_errno("set the mode of", target_.native());
  }

  static std::string own_link(descriptor const& fd) {
    return "/proc/self/fd/" + std::to_string(fd.get());
  }

  /// Returns: false if the name is taken.
  bool link_to(std::string const& name) {
    auto const from = own_link(fd_);
    if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
      return true;
    }
    if (errno != EEXIST) throw_errno("create", target_.native());
    return false;
  }

  void link_temporary() {
    for (;;) {
      auto name = free_name();
      if (!link_to(name)) continue;
      temporary_ = std::move(name);
      return;
    }
  }

  /// Random, because processes on other machines may write into the same directory.
  std::string free_name() const {
    std::uint64_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != sizeof random) throw_errno("getrandom");
    char name[48];
    std::snprintf(name, sizeof name, ".forkmap-%016llx.tmp",
                  static_cast<unsigned long long>(random));
    return (directory_ / name).native();
  }

  void remove_temporary() noexcept {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }

  std::filesystem::path target_;
  std::filesystem::path directory_;
  descriptor fd_;
  std::string temporary_;  // the file's temporary name, while it has one; else empty
  bool replaces_ = false;
  mode_t mode_ = 0;
};

}  // namespace forkmap::detail
