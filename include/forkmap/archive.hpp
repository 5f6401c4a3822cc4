// Many arrays of one file.
#pragma once

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <forkmap/access.hpp>
#include <forkmap/array/sorting.hpp>
#include <forkmap/inspect.hpp>
#include <forkmap/load.hpp>
#include <forkmap/system/call.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap {

/// A file of arrays, open: what is in it is read once, and not again for every array.
///
/// Returns: of load() the same as load(file, name, mode). The arrays do not need the archive.
/// Errors: as of load(); what was opened stays what it is, though another file may get its name.
/// Cost: one descriptor while it lives, whatever the number of arrays; loading one of an .npz file
///   is one read and one mapping.
/// Forking: workers may use the one they were forked with. Several threads may use one at once.
/// Example: `archive file("model.npz"); for (auto& name : file.names()) use(file.load<float>(name));`
class archive {
 public:
  /// Errors: format_error for what holds no arrays; std::system_error naming the file.
  template <class = void>
  explicit archive(std::filesystem::path const& file)
      : file_(new detail::array_file<>(std::filesystem::absolute(file), false)),
        names_(file_->directory().names()),
        sorted_(names_.begin(), names_.end()) {
    detail::sort(sorted_);
  }

  /// Absolute.
  std::filesystem::path const& path() const { return file_->path(); }

  /// Of all arrays, in the file's order; one empty name where the only one has none.
  std::vector<std::string> const& names() const { return names_; }

  /// Whether names() has it.
  template <class = void> bool contains(std::string_view name) const {
    return std::binary_search(sorted_.begin(), sorted_.end(), name);
  }

  template <class = void> array_info inspect(std::string_view name = {}) const {
    return detail::inspect_array(*file_, name);
  }

  template <class T, detail::loading_mode Mode = read_only_t>
  auto load(std::string_view name = {}, Mode mode = Mode{}) const {
    if constexpr (std::same_as<Mode, read_write_t>) {
      // It is open for reading only.
      detail::array_file<> const again(path(), true);
      if (again.status().device != file_->status().device ||
          again.status().inode != file_->status().inode) {
        detail::throw_system_error(ESTALE, "open",
                                   path().native() + " again, which has been replaced");
      }
      return detail::load_from<T>(again, name, mode);
    } else {
      return detail::load_from<T>(*file_, name, mode);
    }
  }

 private:
  detail::owner<detail::array_file<>> file_;
  std::vector<std::string> names_;
  std::vector<std::string_view> sorted_;  // of names_, which stay where they are if this is moved
};

}  // namespace forkmap
