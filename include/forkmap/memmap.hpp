// Memory-mapped array in a file. All processes that map the file share its pages in the page cache.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <forkmap/access.hpp>
#include <forkmap/detail/mapped/mapped_file.hpp>
#include <forkmap/detail/mapped/sent_array.hpp>
#include <forkmap/detail/serialize/call_cache.hpp>
#include <forkmap/mapped_array.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/writer.hpp>

namespace forkmap {
namespace detail {
struct memmap_access;
}  // namespace detail

/// An array in a file, mapped into memory. load(), create() and open_raw() return one.
///
/// Shape: a contiguous range of T with dims() and layout().
/// Cost: a copy is one atomic increment. Copies share one mapping; the last one unmaps it. No
///   descriptor is kept.
/// Forking: a worker sees the same pages. The caller sees the worker's writes if the file was
///   opened read_write; if copy_on_write, they stay in the worker.
/// Source: numpy.memmap.
/// Example: `auto out = memmap<double>::create("out.npy", {rows, cols}); out(0, 1) = 2.5;`
template <class T> class memmap : public mapped_array<T, detail::mapped_file> {
  using base = mapped_array<T, detail::mapped_file>;

 public:
  /// An array without elements and without a file.
  memmap() : memmap(detail::no_mapped_file()) {}

  /// Converts a memmap<T> to a memmap<T const>.
  template <class U>
    requires(std::same_as<U const, T> && !std::same_as<U, T>)
  memmap(memmap<U> const& other) : base(other) {}  // NOLINT(google-explicit-constructor)

  /// Makes a file of zeros and maps it read_write, as NumPy's mode "w+" does. The file is in .npy
  /// format if its extension is .npy, else it holds raw bytes.
  ///
  /// An existing file is replaced, not overwritten: processes that have it mapped keep the old one.
  /// Errors: std::system_error naming the file; without enough disk space it is ENOSPC here, not
  ///   SIGBUS at a later access. std::invalid_argument for dims that are too large, and for the
  ///   extensions .npz, .joblib and .pkl.
  /// Example: `auto out = memmap<double>::create("out.npy", {rows, cols});`
  static memmap create(std::filesystem::path const& file, shape dims, order layout = order::c)
    requires(!std::is_const_v<T>)
  {
    return memmap(detail::create_mapped_file(file, detail::describe_element<T>(), dims, layout));
  }

  /// Maps elements that a file holds as raw bytes in the machine's byte order, `offset` bytes from
  /// its start.
  ///
  /// Errors: std::system_error naming the file; format_error if the file is too short;
  ///   std::invalid_argument if the offset is not aligned for T.
  /// Example: `auto in = memmap<float const>::open_raw("in.raw", {n}, read_only, 512);`
  template <detail::mapping_mode Mode>
  static memmap open_raw(std::filesystem::path const& file, shape dims, Mode mode,
                         std::size_t offset = 0) {
    static_assert(std::is_const_v<T> || !std::same_as<Mode, read_only_t>,
                  "forkmap: the elements of a memmap<T> can be written; open a read_only file as "
                  "memmap<T const>");
    return memmap(detail::open_raw_file(file, detail::element_dtype<std::remove_const_t<T>>(),
                                        alignof(T), dims, detail::access_of(mode), offset));
  }

  /// The path by which the file was opened; empty if there is no file.
  std::filesystem::path const& path() const noexcept { return this->storage()->root().file; }
  /// The number of bytes in the file before the first element.
  std::size_t offset() const noexcept {
    return this->storage()->root().offset + this->storage()->first_byte();
  }

  /// Waits until all writes to the pages of this array or view, by any process, are on the disk.
  /// Does nothing unless the file is mapped read_write. Other processes see writes without flush().
  ///
  /// Errors: std::system_error naming the file.
  void flush() const {
    if (this->storage()->root().mode != detail::access::read_write) return;
    auto const pages = detail::pages_of(this->data(), this->size() * sizeof(T));
    if (detail::write_back(pages) != 0) detail::throw_errno("msync", path().native());
  }

 private:
  friend struct detail::memmap_access;

  explicit memmap(std::shared_ptr<detail::mapped_file> file) : base(std::move(file)) {}
};

namespace detail {

/// Access to private members of memmap, for load() and for serialization.
struct memmap_access {
  template <class T> static memmap<T> make(std::shared_ptr<mapped_file> file) {
    return memmap<T>(std::move(file));
  }

  /// The file and its mapping. part_of() describes a view.
  template <class T> static mapped_file_reference describe(memmap<T> const& array) {
    return array.storage()->root().reference();
  }
  template <class T> static sent_part part_of(memmap<T> const& array) {
    return sent_part::of(*array.storage());
  }
  template <class T> static memmap<T> part(memmap<T> const& whole, sent_part const& which) {
    if (!which.is_view) return whole;
    return make<T>(part_of_storage(whole.storage(), which.first_byte, which.dims, which.layout));
  }

  /// Errors: std::system_error naming the file, ESTALE if it is no longer the file described.
  template <class T> static memmap<T> reopen(mapped_file_reference const& reference) {
    auto const open = [&] {
      return make<T>(reopen_mapped_file(reference, element_dtype<std::remove_const_t<T>>()));
    };
    // The tasks of a call share one mapping, unless it is copy_on_write.
    if (cache_of_call == nullptr || reference.mode == access::copy_on_write) return open();
    return cache_of_call->of_call<memmap<T>>(reference.text(), open);
  }
};

}  // namespace detail

/// Serialization of a memmap. The receiver maps the same file in the same mode; for copy_on_write
/// the content is sent, too.
///
/// Errors: std::system_error ESTALE naming the file if another file has replaced it.
template <class T> struct serializer<memmap<T>> {
  static void save(writer& out, memmap<T> const& array) {
    auto const file = detail::memmap_access::describe(array);
    out.put_count(file.path.size());
    out.write(file.path.data(), file.path.size());
    out.put_count(file.offset);
    detail::sent_shape{file.dims, file.layout}.save(out);
    out.put_count(static_cast<std::uint64_t>(file.mode));
    out.put_count(file.device);
    out.put_count(file.inode);
    detail::memmap_access::part_of(array).save(out);
    if (file.mode == detail::access::copy_on_write) {
      detail::save_elements(out, array.data(), array.size());
    }
  }

  static memmap<T> load(reader& in) {
    detail::mapped_file_reference file;
    auto const length = static_cast<std::size_t>(in.get_count());
    file.path.assign(reinterpret_cast<char const*>(in.take(length)), length);
    file.offset = static_cast<std::size_t>(in.get_count());
    auto const sent = detail::sent_shape::load(in);
    file.dims = sent.dims;
    file.layout = sent.layout;
    file.mode = static_cast<detail::access>(in.get_count());
    file.device = static_cast<dev_t>(in.get_count());
    file.inode = static_cast<ino_t>(in.get_count());
    auto const part = detail::sent_part::load(in);
    // In the receiver, too, views share one mapping of the whole file.
    if (file.mode != detail::access::copy_on_write) {
      return detail::memmap_access::part(detail::memmap_access::reopen<T>(file), part);
    }
    auto const whole = detail::memmap_access::reopen<std::remove_const_t<T>>(file);
    auto const array = detail::memmap_access::part(whole, part);
    detail::load_elements(in, array.data(), array.size());
    return array;
  }

  // An argument, also a std::cref of a memmap, is sent in the same way and never by its elements.
  static void save_argument(writer& out, memmap<T> const& array) { save(out, array); }
  static memmap<T> load_argument(reader& in) { return load(in); }
};

}  // namespace forkmap
