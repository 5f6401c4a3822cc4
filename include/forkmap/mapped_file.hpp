// What a memmap shares between its copies, whatever the type of its elements: the mapping of an
// array's file, and how it comes to be. Not for users.
#pragma once

#include <sys/types.h>

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
#include <forkmap/array/dtype.hpp>
#include <forkmap/array/formats.hpp>
#include <forkmap/array/record.hpp>
#include <forkmap/array_error.hpp>
#include <forkmap/mapped_storage.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/system/file.hpp>
#include <forkmap/system/mapped_memory.hpp>
#include <forkmap/system/replacement.hpp>

namespace forkmap::detail {

/// All that another process needs to map the same array, and to notice that it cannot.
struct mapped_file_reference {
  std::string path;  // absolute
  std::size_t offset = 0;
  shape dims{};
  order layout = order::c;
  access mode = access::read_only;
  dev_t device = 0;
  ino_t inode = 0;

  /// All of it, to be compared.
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

  std::filesystem::path file{};       // this and all below: of the whole, empty in a view
  std::filesystem::path directory{};  // the current one when `file` was opened, if that is relative
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
  static auto const none = [] {
    auto file = std::make_shared<mapped_file>();
    file->dims = shape{0};
    return file;
  }();
  return none;
}

/// The bytes of an array, or std::invalid_argument naming what does not fit.
template <class = void> std::size_t array_bytes(shape const& dims, std::size_t item_bytes) {
  auto const count = dims.count();
  if (count > shape::max_count / item_bytes) {
    throw std::invalid_argument("forkmap: dims " + dims.text() + " of " +
                                std::to_string(item_bytes) +
                                " bytes each are more than this machine can address");
  }
  return count * item_bytes;
}

/// Maps an open file; that the array lies inside it has been checked.
template <class = void>
std::shared_ptr<mapped_file> map_file(descriptor const& fd, file_status const& status,
                                      std::filesystem::path const& file, shape const& dims,
                                      order layout, std::size_t item_bytes, access mode,
                                      std::size_t offset) {
  auto result = std::make_shared<mapped_file>();
  auto const bytes = array_bytes(dims, item_bytes);
  result->take(mapped_memory(fd, mode, offset, bytes, file), dims, layout,
               mode == access::copy_on_write);
  // Somebody may have made it shorter since it was checked.
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

/// Maps a file that was made without a name once more, by the name that it has got, so that the
/// system knows the mapping by it: /proc/<pid>/maps, and what is said of a worker that died there.
template <class = void> void map_by_name(mapped_file& made, std::size_t bytes) noexcept {
  try {
    auto const fd = open_file(made.file, true);
    auto const status = status_of(fd, made.file);
    if (status.device != made.device || status.inode != made.inode) return;
    made.take(mapped_memory(fd, made.mode, made.offset, bytes, made.file), made.dims, made.layout);
  } catch (std::exception const&) {
    // The mapping that is there is as good.
  }
}

template <class Lazy = void>
std::shared_ptr<mapped_file> create_mapped_file(std::filesystem::path const& file,
                                                element_type const& element, shape const& dims,
                                                order layout) {
  if (&format_for_name(file) != &npy_format<Lazy>) {
    throw std::invalid_argument("forkmap: create " + file.native() +
                                ": there is no array to be written into in a file of this format; "
                                "create an .npy file");
  }
  auto const head = file.extension() == ".npy" ? npy_head(element, dims, layout) : std::string();
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

/// Opens a regular file to be mapped, or refuses it as what it is.
template <class = void>
std::pair<descriptor, file_status> open_array_file(std::filesystem::path const& file,
                                                   bool writable) {
  auto fd = open_file(file, writable);
  auto const status = status_of(fd, file);
  if (S_ISDIR(status.mode)) throw_system_error(EISDIR, "open", file.native());
  if (auto const what = irregular(status.mode); !what.empty()) {
    throw format_error(
        "forkmap: " + file.native() + ": the file is " + std::string(what) + ", not a regular file",
        file);
  }
  return {std::move(fd), status};
}

/// An element in an error's text.
template <class = void> std::string element_name(dtype const& type) {
  auto const cpp = cpp_name(type);
  return cpp.empty() ? "records of " + std::to_string(type.item_bytes) + " bytes" : cpp;
}

/// Maps raw bytes of an open file, if it has that many.
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
  // Before anything is said about its size: another file may well be shorter.
  if (opened.second.device != reference.device || opened.second.inode != reference.inode) {
    throw_system_error(ESTALE, "open", file.native() + " again, which has been replaced");
  }
  return map_raw(opened, file, type, reference.dims, reference.layout, reference.mode,
                 reference.offset);
}

}  // namespace forkmap::detail
