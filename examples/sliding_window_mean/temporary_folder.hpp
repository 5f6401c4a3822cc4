// A folder for temporary files.
// SPDX-License-Identifier: MIT
#pragma once

#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

/// A new folder in $TMPDIR. The destructor removes it with its content.
class temporary_folder {
 public:
  temporary_folder() {
    std::error_code error;
    auto const parent = std::filesystem::temp_directory_path(error);
    if (error) throw std::system_error(error, "no folder for temporary files; set $TMPDIR to one");
    auto name = (parent / "forkmap_memmap.XXXXXX").native();
    if (::mkdtemp(name.data()) == nullptr) {
      throw std::system_error(errno, std::generic_category(), "cannot make the folder " + name);
    }
    path_ = name;
  }
  temporary_folder(temporary_folder const&) = delete;
  temporary_folder& operator=(temporary_folder const&) = delete;
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::filesystem::path operator/(std::string_view file) const { return path_ / file; }

 private:
  std::filesystem::path path_;
};
