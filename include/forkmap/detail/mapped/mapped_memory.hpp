// Mapped memory, a wrapper of Boost.Interprocess that hides Boost's types and errors.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <filesystem>

#include <boost/interprocess/mapped_region.hpp>

#include <forkmap/access.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/descriptor.hpp>
#include <forkmap/detail/os/shared_memory.hpp>

namespace forkmap::detail {

/// Owns mapped memory. Empty (null, 0) if default-constructed, and for 0 bytes, which mmap()
/// refuses.
class mapped_memory {
 public:
  mapped_memory() = default;

  /// Maps `bytes` of an open file from `offset`. The descriptor may be closed afterwards.
  mapped_memory(descriptor const& fd, access mode, std::size_t offset, std::size_t bytes,
                std::filesystem::path const& file) {
    if (bytes == 0) return;
    try {
      region_ = boost::interprocess::mapped_region(
          opened_file{fd.get()}, boost_mode(mode),
          static_cast<boost::interprocess::offset_t>(offset), bytes);
    } catch (boost::interprocess::interprocess_exception const& error) {
      throw_system_error(error.get_native_error(), "mmap", file.native());
    }
  }

  /// Zeroed memory without a file, shared with all processes that are forked after the call.
  static mapped_memory anonymous(std::size_t bytes) {
    mapped_memory result;
    // Boost's function is static: each translation unit of the program would have a copy of it.
    if (bytes != 0) result.anonymous_ = mapping::anonymous(bytes);
    return result;
  }

  std::byte* data() const {
    return region_.get_size() != 0 ? static_cast<std::byte*>(region_.get_address())
                                   : anonymous_.data();
  }
  std::size_t size() const {
    return region_.get_size() != 0 ? region_.get_size() : anonymous_.size();
  }

 private:
  /// Boost's concept memory mappable. Lets the header and the mapping use the same descriptor.
  struct opened_file {
    int fd;
    boost::interprocess::mapping_handle_t get_mapping_handle() const {
      return {.handle = fd, .is_xsi = false};
    }
  };

  static boost::interprocess::mode_t boost_mode(access mode) {
    switch (mode) {
      case access::read_write:
        return boost::interprocess::read_write;
      case access::copy_on_write:
        return boost::interprocess::copy_on_write;
      case access::read_only:
        break;
    }
    return boost::interprocess::read_only;
  }

  boost::interprocess::mapped_region region_;
  mapping anonymous_;
};

}  // namespace forkmap::detail
