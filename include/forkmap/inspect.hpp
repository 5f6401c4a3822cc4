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

#include <forkmap/array/formats.hpp>
#include <forkmap/array_error.hpp>
#include <forkmap/mapped_file.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/system/file.hpp>

namespace forkmap {

/// What inspect() tells.
struct array_info {
  std::string dtype;           // as the file spells it, NumPy's way: "<f8"
  shape dims{};                // its extents
  order layout = order::c;     // how the elements lie
  std::size_t offset = 0;      // of the first element in the file, in bytes
  std::string format;          // "npy"
  std::size_t item_bytes = 0;  // of one element
};

namespace detail {

/// An array's file, open, and where in it the array lies.
class array_file {
 public:
  array_file(std::filesystem::path const& file, std::string_view name, bool writable)
      : array_file(file, name, open_array_file(file, writable)) {}

  descriptor const& fd() const { return fd_; }
  file_status const& status() const { return status_; }
  stored_array const& array() const { return array_; }

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

  array_file(std::filesystem::path const& file, std::string_view name,
             std::pair<descriptor, file_status> opened)
      : fd_(std::move(opened.first)), status_(opened.second) {
    // Room for every header that is not extraordinary, so that one read is enough.
    std::array<char, 1024> first;
    auto const got = read_at(fd_, first.data(), std::min(first.size(), status_.size), 0, file);
    array_ = locate_array(source(fd_, file, got < first.size() ? got : status_.size,
                                 std::string_view(first.data(), got)),
                          name);
  }

  descriptor fd_;
  file_status status_;
  stored_array array_;
};

}  // namespace detail

/// Tells what a file holds: dtype, dims, layout, where the data begins, format.
///
/// `name` is that of an array in a file of several; an .npy file has one, without a name.
/// Errors: format_error for what is no array; std::system_error naming the file.
/// Cost: one read of at most a few kilobytes; no data is touched.
inline array_info inspect(std::filesystem::path const& file, std::string_view name = {}) {
  detail::array_file const opened(file, name, false);
  auto const& array = opened.array();
  return {array.descr,          array.dims, array.layout, array.offset, std::string(array.format),
          array.type.item_bytes};
}

}  // namespace forkmap
