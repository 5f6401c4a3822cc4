// A temporary folder of a test.
// SPDX-License-Identifier: MIT
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <string>
#include <system_error>

namespace support {

/// A new, empty folder under $TMPDIR (or /tmp). The destructor removes it with its content, but
/// only in the process that made it: a worker that unwinds removes nothing.
class temporary_directory {
 public:
  temporary_directory() : temporary_directory(std::filesystem::temp_directory_path()) {}

  /// The same under `parent`, for tests that need a folder in /dev/shm.
  explicit temporary_directory(std::filesystem::path const& parent) {
    std::string name = parent / ("forkmap-test-" + std::to_string(::getpid()) + "-XXXXXX");
    if (::mkdtemp(name.data()) == nullptr)
      throw std::system_error(errno, std::system_category(), "mkdtemp " + name);
    path_ = name;
  }

  temporary_directory(temporary_directory const&) = delete;
  temporary_directory& operator=(temporary_directory const&) = delete;

  ~temporary_directory() {
    if (::getpid() != owner_) return;
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::filesystem::path const& path() const noexcept { return path_; }

 private:
  pid_t owner_ = ::getpid();
  std::filesystem::path path_;
};

/// The number of files and folders in `folder`.
inline std::size_t names_in(std::filesystem::path const& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder),
                                                std::filesystem::directory_iterator()));
}

}  // namespace support
