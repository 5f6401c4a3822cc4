// An array in a file, mapped: every process that has it shares the one copy in the page cache.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <forkmap/access.hpp>
#include <forkmap/array/elements.hpp>
#include <forkmap/mapped_file.hpp>
#include <forkmap/sent_array.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/transfer/bytes.hpp>
#include <forkmap/transfer/call_cache.hpp>

namespace forkmap {
namespace detail {
struct memmap_access;
}  // namespace detail

/// An array in a file, mapped into memory. Made by load(), create() or open_raw().
///
/// Shape: a contiguous range of T; dims() and layout() are the array's own.
/// Cost: a copy is one atomic increment; copies share one mapping, unmapped with the last of them.
///   No descriptor is kept.
/// Forking: a worker sees the same pages. What is written is seen by the caller if the file was
///   opened read_write, and stays in the worker if copy_on_write.
/// Example: `auto out = memmap<double>::create("out.npy", {rows, cols}); out(0, 1) = 2.5;`
template <class T> class memmap : public detail::shared_elements<T, detail::mapped_file> {
  using base = detail::shared_elements<T, detail::mapped_file>;

 public:
  /// An array of no elements and no file, to be assigned to.
  memmap() : memmap(detail::no_mapped_file()) {}

  /// An array that may be written is also one that may be read.
  template <class U>
    requires(std::same_as<U const, T> && !std::same_as<U, T>)
  memmap(memmap<U> const& other) : base(other) {}  // NOLINT(google-explicit-constructor)

  /// Makes a file of zeros and maps it read_write ("w+"): .npy by extension, else raw bytes.
  ///
  /// A file of that name is replaced, not overwritten: whoever has the old one mapped keeps it.
  /// Errors: std::system_error naming the file; no space is ENOSPC here, not a SIGBUS later.
  ///   std::invalid_argument for dims that do not fit, and for .npz, .joblib, .pkl.
  static memmap create(std::filesystem::path const& file, shape dims, order layout = order::c)
    requires(!std::is_const_v<T>)
  {
    return memmap(detail::create_mapped_file(file, detail::describe_element<T>(), dims, layout));
  }

  /// Maps raw bytes of a file, `offset` bytes from its start, in the machine's byte order.
  ///
  /// Errors: std::system_error naming the file; format_error if it is too short;
  ///   std::invalid_argument if the offset is not aligned for T.
  template <detail::mapping_mode Mode>
  static memmap open_raw(std::filesystem::path const& file, shape dims, Mode mode,
                         std::size_t offset = 0) {
    static_assert(std::is_const_v<T> || !std::same_as<Mode, read_only_t>,
                  "memmap<T> can be written; open a read_only file as memmap<T const>");
    return memmap(detail::open_raw_file(file, detail::element_dtype<std::remove_const_t<T>>(),
                                        alignof(T), dims, detail::access_of(mode), offset));
  }

  /// The file as it was named when it was opened; empty if there is none.
  std::filesystem::path const& path() const noexcept { return this->storage()->root().file; }
  /// Where in the file the first element is, in bytes.
  std::size_t offset() const noexcept {
    return this->storage()->root().offset + this->storage()->first_byte();
  }

  /// Returns when all that was written through any mapping of these pages is on the disk. Other
  /// processes see it without. Nothing to do unless read_write. Of a view: its pages.
  ///
  /// Errors: std::system_error.
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

/// The way in for load() and for whoever sends a memmap to another process.
struct memmap_access {
  template <class T> static memmap<T> make(std::shared_ptr<mapped_file> file) {
    return memmap<T>(std::move(file));
  }

  /// Of the file; which part of it a view is tells part_of().
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
    // The tasks of a call share it, but for what each may write for itself.
    if (cache_of_call == nullptr || reference.mode == access::copy_on_write) return open();
    return cache_of_call->of_call<memmap<T>>(reference.text(), open);
  }
};

}  // namespace detail

/// As a task's result a memmap arrives as a mapping of the same file in the same mode; one opened
/// copy_on_write with what the worker has made of its content.
/// Errors: std::system_error ESTALE, naming the file, if it was replaced in the meantime.
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
    // Views share one mapping of the whole file there, too.
    if (file.mode != detail::access::copy_on_write) {
      return detail::memmap_access::part(detail::memmap_access::reopen<T>(file), part);
    }
    auto const whole = detail::memmap_access::reopen<std::remove_const_t<T>>(file);
    auto const array = detail::memmap_access::part(whole, part);
    detail::load_elements(in, array.data(), array.size());
    return array;
  }

  // As an argument the same, std::cref of it, too: never its elements.
  static void save_argument(writer& out, memmap<T> const& array) { save(out, array); }
  static memmap<T> load_argument(reader& in) { return load(in); }
};

}  // namespace forkmap
