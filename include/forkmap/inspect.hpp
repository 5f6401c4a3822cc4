// Types and shapes of the arrays in a file, read without the data.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/compress/compression.hpp>
#include <forkmap/detail/mapped/formats.hpp>
#include <forkmap/detail/mapped/mapped_file.hpp>
#include <forkmap/detail/os/file.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/error.hpp>
#include <forkmap/shape.hpp>

namespace forkmap {

/// Description of an array in a file: the return type of inspect().
struct array_info {
  std::string dtype;           // NumPy's dtype as the file spells it: "<f8"
  shape dims{};                // extents
  order layout = order::c;     // order of the elements
  std::size_t offset = 0;      // bytes before the first element; of a compressed file, decompressed
  std::string format;          // "npy", "npz"
  std::size_t item_bytes = 0;  // bytes of one element
  std::string compress;        // "gzip", "deflate", ...; empty: not compressed
};

namespace detail {

/// The default of T in load<T>() and load_value<T>(), for a compile error that asks for T.
struct unnamed {};

/// An open file that holds arrays, and its directory.
template <class Lazy = void> class array_file {
 public:
  array_file(std::filesystem::path const& file, bool writable)
      : array_file(file, open_array_file(file, writable)) {}

  descriptor const& fd() const { return fd_; }
  file_status const& status() const { return status_; }
  std::filesystem::path const& path() const { return file_; }
  byte_source const& bytes() const { return source_; }
  array_directory const& directory() const { return *directory_; }
  stored_array find(std::string_view name) const { return directory_->find(source_, name); }

 private:
  class source final : public byte_source {
   public:
    source(descriptor const& fd, std::filesystem::path const& file, std::size_t size,
           std::string_view first)
        : byte_source(file, size, first), fd_(&fd) {}

    void read(std::size_t offset, std::span<char> out) const override {
      if (read_at(*fd_, out.data(), out.size(), offset, file()) != out.size()) {
        fail("the file became shorter while it was read");
      }
    }

   private:
    descriptor const* fd_;
  };

  array_file(std::filesystem::path const& file, std::pair<descriptor, file_status> opened)
      : file_(file),
        fd_(std::move(opened.first)),
        status_(opened.second),
        first_bytes_(read_at(fd_, first_.data(), std::min(first_.size(), status_.size), 0, file_)),
        source_(fd_, file_, first_bytes_ < first_.size() ? first_bytes_ : status_.size,
                std::string_view(first_.data(), first_bytes_)),
        directory_(read_directory(source_)) {}

  std::filesystem::path file_;
  descriptor fd_;
  file_status status_;
  // Large enough for all usual headers, so that one read is enough.
  std::array<char, 1024> first_;
  std::size_t first_bytes_;
  source source_;
  owner<array_directory> directory_;
};

template <class Lazy = void> std::string compression_name(stored_array const& array) {
  auto const method = array.packed.method;
  return method == compression::none ? std::string() : std::string(name_of(method));
}

template <class Lazy = void>
array_info inspect_array(array_file<Lazy> const& file, std::string_view name) {
  auto const array = file.find(name);
  return {array.descr,
          array.dims,
          array.layout,
          array.offset,
          std::string(array.format),
          array.type.item_bytes,
          compression_name(array)};
}

}  // namespace detail

/// Describes an array in a file: dtype, dims, layout, offset of the data, format and compression.
///
/// `name` selects an array in a file of several. It may be left out if the file has only one array.
/// Returns: an array_info.
/// Errors: format_error if the file holds no such array, or if the library that decompresses it is
///   missing; std::system_error naming the file.
/// Cost: one read of at most a few kilobytes, and of the directory of an .npz file. No data is
///   read, but a compressed file is decompressed up to the array.
/// Example: `std::puts(inspect("data.npy").dtype.c_str());`
template <class Lazy = void>
array_info inspect(std::filesystem::path const& file, std::string_view name = {}) {
  return detail::inspect_array(detail::array_file<Lazy>(file, false), name);
}

}  // namespace forkmap
