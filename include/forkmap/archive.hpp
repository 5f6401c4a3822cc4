// Open file that holds several arrays.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <forkmap/access.hpp>
#include <forkmap/detail/lazily.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/inspect.hpp>
#include <forkmap/load.hpp>

namespace forkmap {

/// An open file that holds arrays. The file's directory is read once and not for every array.
///
/// The archive keeps the file that it opened, even if another file later gets the same path.
/// Several threads may use one archive at once.
/// Cost: one descriptor as long as the archive exists, whatever the number of arrays. Loading an
///   array of an .npz file is one read and one mapping.
/// Forking: workers may use an archive that was opened before the fork.
/// Example: `archive file("model.npz"); for (auto& name : file.names())
///   use(file.load<float>(name));`
class archive {
 public:
  /// Opens a file and reads its directory.
  ///
  /// Errors: format_error if the file holds no arrays; std::system_error naming the file.
  template <class = void>
  explicit archive(std::filesystem::path const& file)
      : file_(new detail::array_file<>(std::filesystem::absolute(file), false)),
        names_(file_->directory().names()),
        sorted_(names_.begin(), names_.end()) {
    detail::sort(sorted_);
  }

  /// The absolute path of the file.
  std::filesystem::path const& path() const { return file_->path(); }

  /// The names of all arrays, in the file's order. A file of one array without a name has one empty
  /// name.
  std::vector<std::string> const& names() const { return names_; }

  /// Whether the file holds an array of that name.
  template <class = void> bool contains(std::string_view name) const {
    return std::binary_search(sorted_.begin(), sorted_.end(), name);
  }

  /// The type, shape and place of an array: see forkmap::inspect().
  template <class = void> array_info inspect(std::string_view name = {}) const {
    return detail::inspect_array(*file_, name);
  }

  /// Loads an array.
  ///
  /// Returns: the same as forkmap::load<T>(file, name, mode). The array does not need the archive.
  /// Errors: as forkmap::load(). For read_write, std::system_error ESTALE if another file now has
  ///   the archive's path.
  template <class T, detail::loading_mode Mode = read_only_t>
  auto load(std::string_view name = {}, Mode mode = Mode{}) const {
    if constexpr (std::same_as<Mode, read_write_t>) {
      // file_ is open for reading only.
      detail::array_file<> const writable(path(), true);
      if (writable.status().device != file_->status().device ||
          writable.status().inode != file_->status().inode) {
        detail::throw_system_error(ESTALE, "open",
                                   path().native() + " for writing: another file has replaced it");
      }
      return detail::load_from<T>(writable, name, mode);
    } else {
      return detail::load_from<T>(*file_, name, mode);
    }
  }

 private:
  detail::owner<detail::array_file<>> file_;
  std::vector<std::string> names_;
  std::vector<std::string_view> sorted_;  // of names_, which a move leaves in place
};

}  // namespace forkmap
