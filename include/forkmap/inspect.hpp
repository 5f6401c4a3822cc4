// What a file holds, without its data.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <forkmap/array/format.hpp>
#include <forkmap/array/formats.hpp>
#include <forkmap/array/packing.hpp>
#include <forkmap/array_error.hpp>
#include <forkmap/mapped_file.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/system/file.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap {

/// What inspect() tells.
struct array_info {
  std::string dtype;           // as the file spells it, NumPy's way: "<f8"
  shape dims{};                // its extents
  order layout = order::c;     // how the elements lie
  std::size_t offset = 0;      // of the first element in the file, in bytes
  std::string format;          // "npy", "npz"
  std::size_t item_bytes = 0;  // of one element
  std::string compress;        // "gzip", "deflate"...: `offset` counts what it unpacks to; "": none
};

namespace detail {

/// The type that a load<T>() is for, where the call names none.
struct unnamed {};

/// A file of arrays, open, and which there are in it.
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
  // Room for every header that is not extraordinary, so that one read is enough.
  std::array<char, 1024> first_;
  std::size_t first_bytes_;
  source source_;
  owner<array_directory> directory_;
};

template <class Lazy = void> std::string packing_name(stored_array const& array) {
  auto const method = array.packed.method;
  return method == packing::none ? std::string() : std::string(name_of(method));
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
          packing_name(array)};
}

}  // namespace detail

/// Tells what a file holds: dtype, dims, layout, where the data begins, format, compression.
///
/// `name` is that of an array in a file of several; an .npy file has one, without a name.
/// Errors: format_error for what is no array, or where the library that unpacks it is missing;
///   std::system_error naming the file.
/// Cost: one read of at most a few kilobytes; of an .npz file the directory too. No data is touched,
///   but what lies before the array in a compressed file is unpacked.
template <class Lazy = void>
array_info inspect(std::filesystem::path const& file, std::string_view name = {}) {
  return detail::inspect_array(detail::array_file<Lazy>(file, false), name);
}

}  // namespace forkmap
