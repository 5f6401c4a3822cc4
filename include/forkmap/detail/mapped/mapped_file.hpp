// The mapping of an array's file, shared by the copies of a memmap. Does not depend on the element
// type.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <sys/types.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <forkmap/access.hpp>
#include <forkmap/detail/array/dtype.hpp>
#include <forkmap/detail/made_once.hpp>
#include <forkmap/detail/mapped/formats.hpp>
#include <forkmap/detail/mapped/mapped_memory.hpp>
#include <forkmap/detail/mapped/mapped_storage.hpp>
#include <forkmap/detail/os/file.hpp>
#include <forkmap/detail/os/replacement.hpp>
#include <forkmap/error.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

/// What another process needs to map the same array, and to detect that the file was replaced.
struct mapped_file_reference {
  std::string path;  // absolute
  std::size_t offset = 0;
  shape dims{};
  order layout = order::c;
  access mode = access::read_only;
  dev_t device = 0;
  ino_t inode = 0;

  /// All members as text, for comparison.
  std::string text() const {
    std::string all = path + '\0' + dims.text();
    for (auto const number :
         {static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(layout),
          static_cast<std::uint64_t>(mode), static_cast<std::uint64_t>(device),
          static_cast<std::uint64_t>(inode)}) {
      all += ' ' + std::to_string(number);
    }
    return all;
  }
};

struct memmap_access;

struct mapped_file : mapped_storage<mapped_file> {
  using maker = memmap_access;

  // Unused in a view, which refers to the whole array.
  std::filesystem::path file{};
  std::filesystem::path directory{};  // if `file` is relative: the current one when it was opened
  std::size_t offset = 0;
  access mode = access::read_only;
  dev_t device = 0;
  ino_t inode = 0;

  std::string const& name() const noexcept { return file.native(); }

  mapped_file_reference reference() const {
    return {(directory / file).native(), offset, dims, layout, mode, device, inode};
  }
};

template <class = void> std::shared_ptr<mapped_file> const& no_mapped_file() {
  static constinit std::atomic<std::shared_ptr<mapped_file> const*> none = nullptr;
  return made_once(none, [] {
    auto file = std::make_shared<mapped_file>();
    file->dims = shape{0};
    return file;
  });
}

/// The size of an array in bytes.
/// Errors: std::invalid_argument if it is larger than the address space, naming the dims.
template <class = void> std::size_t array_bytes(shape const& dims, std::size_t item_bytes) {
  auto const count = dims.count();
  if (count > shape::max_count / item_bytes) {
    throw std::invalid_argument("forkmap: dims " + dims.text() + " of " +
                                std::to_string(item_bytes) +
                                " bytes each are more than this machine can address");
  }
  return count * item_bytes;
}

/// Maps an open file. Precondition: the array was inside the file when it was opened.
/// Errors: format_error if the file has shrunk since then.
template <class = void>
std::shared_ptr<mapped_file> map_file(descriptor const& fd, file_status const& status,
                                      std::filesystem::path const& file, shape const& dims,
                                      order layout, std::size_t item_bytes, access mode,
                                      std::size_t offset) {
  auto result = std::make_shared<mapped_file>();
  auto const bytes = array_bytes(dims, item_bytes);
  result->take(mapped_memory(fd, mode, offset, bytes, file), dims, layout,
               mode == access::copy_on_write);
  // Another process may have truncated the file since the size was checked.
  if (auto const size = status_of(fd, file).size; offset + bytes > size) {
    throw format_error("forkmap: " + file.native() + ": the file became shorter while it was " +
                           "opened: it has " + std::to_string(size) + " bytes, the array ends at " +
                           std::to_string(offset + bytes),
                       file);
  }
  result->file = file;
  if (file.is_relative()) result->directory = std::filesystem::current_path();
  result->offset = offset;
  result->mode = mode;
  result->device = status.device;
  result->inode = status.inode;
  return result;
}

/// Replaces the mapping of a file that had no name when it was mapped. The new mapping is opened by
/// name, so that the name appears in /proc/<pid>/maps and in crash reports.
template <class = void> void map_by_name(mapped_file& made, std::size_t bytes) noexcept {
  try {
    auto const fd = open_file(made.file, true);
    auto const status = status_of(fd, made.file);
    if (status.device != made.device || status.inode != made.inode) return;
    made.take(mapped_memory(fd, made.mode, made.offset, bytes, made.file), made.dims, made.layout);
  } catch (std::exception const&) {
    // The existing mapping works, too.
  }
}

template <class Lazy = void>
std::shared_ptr<mapped_file> create_mapped_file(std::filesystem::path const& file,
                                                element_type const& element, shape const& dims,
                                                order layout) {
  auto const head = head_of_new_file(file, element, dims, layout);
  auto const item_bytes = element.type.item_bytes;
  auto const bytes = head.size() + array_bytes(dims, item_bytes);

  replacement made(file);
  if (!allocate(made.fd(), bytes, file)) resize(made.fd(), bytes, file);
  write_all(made.fd(), head, nullptr, 0, file);
  auto result = map_file(made.fd(), status_of(made.fd(), file), file, dims, layout, item_bytes,
                         access::read_write, head.size());
  bool const durable = false;
  made.commit(durable);
  map_by_name(*result, bytes - head.size());
  return result;
}

/// Opens a regular file for mapping.
/// Errors: std::system_error for a directory; format_error for other files that are not regular,
///   naming the kind of file.
template <class = void>
std::pair<descriptor, file_status> open_array_file(std::filesystem::path const& file,
                                                   bool writable) {
  auto fd = open_file(file, writable);
  auto const status = status_of(fd, file);
  if (S_ISDIR(status.mode)) throw_system_error(EISDIR, "open", file.native());
  if (auto const kind = irregular(status.mode); !kind.empty()) {
    throw format_error(
        "forkmap: " + file.native() + ": the file is " + std::string(kind) + ", not a regular file",
        file);
  }
  return {std::move(fd), status};
}

/// The name of an element type in an error text.
template <class = void> std::string element_name(dtype const& type) {
  auto const cpp = cpp_name(type);
  return cpp.empty() ? "records of " + std::to_string(type.item_bytes) + " bytes" : cpp;
}

/// Maps an array without a header.
/// Errors: format_error if the file is too short.
template <class = void>
std::shared_ptr<mapped_file> map_raw(std::pair<descriptor, file_status> const& opened,
                                     std::filesystem::path const& file, dtype const& type,
                                     shape const& dims, order layout, access mode,
                                     std::size_t offset) {
  auto const bytes = array_bytes(dims, type.item_bytes);
  auto const size = opened.second.size;
  if (offset > size || bytes > size - offset) {
    throw format_error("forkmap: " + file.native() + ": dims " + dims.text() + " of " +
                           element_name(type) + " from offset " + std::to_string(offset) +
                           " take " + std::to_string(bytes) + " bytes, the file has " +
                           std::to_string(size),
                       file);
  }
  return map_file(opened.first, opened.second, file, dims, layout, type.item_bytes, mode, offset);
}

template <class = void>
std::shared_ptr<mapped_file> open_raw_file(std::filesystem::path const& file, dtype const& type,
                                           std::size_t alignment, shape const& dims, access mode,
                                           std::size_t offset) {
  if (offset % alignment != 0) {
    throw std::invalid_argument("forkmap: open_raw " + file.native() + ": offset " +
                                std::to_string(offset) + " is not a multiple of " +
                                std::to_string(alignment) + ", the alignment of " +
                                element_name(type));
  }
  auto const opened = open_array_file(file, mode == access::read_write);
  return map_raw(opened, file, type, dims, order::c, mode, offset);
}

template <class = void>
std::shared_ptr<mapped_file> reopen_mapped_file(mapped_file_reference const& reference,
                                                dtype const& type) {
  if (reference.path.empty()) return no_mapped_file();
  std::filesystem::path const file(reference.path);
  auto const opened = open_array_file(file, reference.mode == access::read_write);
  // Checked before the size: a file that replaced this one may be shorter.
  if (opened.second.device != reference.device || opened.second.inode != reference.inode) {
    throw_system_error(ESTALE, "open", file.native() + " again, which has been replaced");
  }
  return map_raw(opened, file, type, reference.dims, reference.layout, reference.mode,
                 reference.offset);
}

}  // namespace forkmap::detail
