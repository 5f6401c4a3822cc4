// All array file formats, and files that are compressed as a whole.
// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/detail/array/compressed_file.hpp>
#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/array/plain_value.hpp>
#include <forkmap/detail/compress/compression.hpp>
#include <forkmap/detail/joblib/joblib.hpp>
#include <forkmap/detail/npy/npy.hpp>
#include <forkmap/detail/npz/npz.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

// The arrays of a file that is compressed as a whole.

template <class Lazy = void>
compressed_section whole_file(compression method, byte_source const& source) {
  return {method, 0, source.size()};
}

/// Finds the arrays in the decompressed file. Each call decompresses the file from its start.
template <class Lazy = void> class compressed_directory final : public array_directory {
 public:
  compressed_directory(compression method, owner<array_directory> inside)
      : method_(method), inside_(std::move(inside)) {}

  stored_array find(byte_source const& source, std::string_view name) const override {
    auto const whole = whole_file(method_, source);
    auto result = inside_->find(decompressed_source<Lazy>(source, whole), name);
    if (result.packed.method != compression::none) source.fail("the array is compressed twice");
    result.packed = whole;
    return result;
  }

  std::vector<std::string> names() const override { return inside_->names(); }

  std::vector<content_entry> entries(byte_source const& source) const override {
    return inside_->entries(decompressed_source<Lazy>(source, whole_file(method_, source)));
  }

  void show(byte_source const& source, std::string_view name, value_viewer& viewer) const override {
    inside_->show(decompressed_source<Lazy>(source, whole_file(method_, source)), name, viewer);
  }

 private:
  compression method_;
  owner<array_directory> inside_;
};

// All formats. When reading, the first bytes of a file select one; when writing, the file's name.

template <class Lazy = void>
inline constexpr array_format const* array_formats[] = {&npy_format<Lazy>, &npz_format<Lazy>,
                                                        &joblib_format<Lazy>};

/// The name of a known format that forkmap does not read; empty for an unknown format.
template <class Lazy = void> std::string_view foreign_format(std::string_view first) {
  struct signature {
    std::string_view magic;
    std::string_view name;
  };
  using namespace std::string_view_literals;
  constexpr signature known[] = {
      {"ZF"sv, "a compressed file of joblib 0.9 or older"},
      {"\x89HDF"sv, "an HDF5 file"},
  };
  for (auto const& [magic, name] : known) {
    if (first.starts_with(magic)) return name;
  }
  return {};
}

/// The format of a file that begins with these bytes; null if there is none.
template <class Lazy = void> array_format const* format_that_begins(std::string_view first) {
  for (auto const* format : array_formats<Lazy>) {
    if (format->begins(first)) return format;
  }
  return nullptr;
}

template <class Lazy = void>
[[noreturn]] void fail_foreign(byte_source const& source, std::string_view first,
                               std::string_view subject) {
  std::string const begin(subject);
  if (first.empty()) source.fail(begin + " is empty, not an array");
  if (auto const name = foreign_format(first); !name.empty()) {
    source.fail(begin + " is " + std::string(name) +
                "; forkmap reads .npy, .npz and files of joblib 0.10 or later");
  }
  source.fail("not an array file: " + begin + " begins with " + in_quotes(first.substr(0, 8)) +
              "; an .npy file begins with '\\x93NUMPY'");
}

/// Lists the arrays of a file. The format is detected by the file's bytes, not by its name.
template <class Lazy = void> owner<array_directory> read_directory(byte_source const& source) {
  if (auto const* format = format_that_begins(source.first())) return format->read(source);
  auto const method = compression_that_begins(source.first());
  if (method == compression::none) fail_foreign(source, source.first(), "the file");
  decompressed_source<Lazy> const inside(source, whole_file(method, source));
  auto const* format = format_that_begins(inside.first());
  if (format == nullptr) fail_foreign(source, inside.first(), "the decompressed file");
  return owner<array_directory>(new compressed_directory<Lazy>(method, format->read(inside)));
}

/// The format to write to a file of this name: .npy unless the extension is that of another format.
template <class Lazy = void>
array_format const& format_for_name(std::filesystem::path const& file) {
  auto const extension = file.extension();
  if (extension == ".npz") return npz_format<Lazy>;
  if (extension == ".joblib" || extension == ".pkl") return joblib_format<Lazy>;
  return npy_format<Lazy>;
}

/// The bytes before the elements of a new file that is mapped: the head of a .npy file, or nothing.
/// Errors: std::invalid_argument for a name of another format.
template <class Lazy = void>
std::string head_of_new_file(std::filesystem::path const& file, element_type const& element,
                             shape const& dims, order layout) {
  if (&format_for_name<Lazy>(file) != &npy_format<Lazy>) {
    throw std::invalid_argument("forkmap: create " + file.native() +
                                ": a file of this format cannot be mapped for writing; create an "
                                ".npy file");
  }
  return file.extension() == ".npy" ? npy_head(element, dims, layout) : std::string();
}

}  // namespace forkmap::detail
