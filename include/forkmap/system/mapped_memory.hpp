// Mapped memory, through Boost.Interprocess. Boost's types and errors end here.
#pragma once

#include <cstddef>
#include <filesystem>

#include <boost/interprocess/mapped_region.hpp>

#include <forkmap/access.hpp>
#include <forkmap/system/call.hpp>
#include <forkmap/system/descriptor.hpp>
#include <forkmap/system/shared_memory.hpp>

namespace forkmap::detail {

/// Owns mapped memory; empty (null, 0) after construction without any, and for 0 bytes, which
/// mmap() refuses.
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

  /// Memory without a file, zero, shared with every process forked from now on.
  static mapped_memory anonymous(std::size_t bytes) {
    mapped_memory result;
    // Not Boost's function, which is static: every file of the program would have a copy of it.
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
  /// What Boost calls a memory mappable: it lets one open() serve the header and the mapping.
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
