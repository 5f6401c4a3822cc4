// Writer and reader of serialized values, and the serializer template for user-defined types.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace forkmap {
namespace detail {

/// Thrown by a reader that has fewer bytes left than requested.
class out_of_bytes : public std::runtime_error {
 public:
  explicit out_of_bytes(std::size_t missing)
      : std::runtime_error("forkmap: a serialized value has fewer bytes than its type needs"),
        missing_(missing) {}
  std::size_t missing() const noexcept { return missing_; }

 private:
  std::size_t missing_;
};

}  // namespace detail

/// Serialization of a user-defined type, for results of tasks and for arguments of a pool's tasks.
/// Specialize it for a type that forkmap cannot serialize itself:
///
///     template <> struct forkmap::serializer<matrix> {
///       static void save(forkmap::writer& out, matrix const& m) { out.put(m.rows()); ... }
///       static matrix load(forkmap::reader& in) { auto rows = in.get<std::size_t>(); ... }
///     };
///
/// Errors: for a result, an exception of save is the task's exception. An exception of load is
///   thrown by the call, or is the task's failure in outcomes(). If load does not read exactly the
///   bytes that save wrote, load fails with a std::runtime_error that names the type and both
///   sizes.
/// Cost: 8 bytes per value, for the number of bytes that save wrote.
/// Forking: for a result, save runs in the worker and load in the caller. Both processes run the
///   same program on the same machine.
template <class T> struct serializer;

/// Appends serialized values to a buffer: the first argument of serializer<T>::save.
class writer {
 public:
  writer(writer const&) = delete;
  writer& operator=(writer const&) = delete;

  /// Appends n raw bytes.
  void write(void const* bytes, std::size_t n) {
    if (static_cast<std::size_t>(end_ - cursor_) < n) make_room(n);
    if (n != 0) std::memcpy(cursor_, bytes, n);
    cursor_ += n;
  }

  /// Appends a number in a variable-length encoding: one byte for a number below 128, at most ten.
  ///
  /// Source: LEB128.
  void put_count(std::uint64_t n) {
    std::byte encoded[10];
    std::size_t length = 0;
    for (; n >= 0x80; n >>= 7U) encoded[length++] = static_cast<std::byte>((n & 0x7fU) | 0x80U);
    encoded[length++] = static_cast<std::byte>(n);
    write(encoded, length);
  }

  /// Appends padding up to an address that is a multiple of `grain`: one byte with the number of
  /// padding bytes that follow, so that the bytes can be read at any other address, too.
  /// reader::align() skips it. Precondition: grain is at most 64.
  void align(std::size_t grain) {
    std::byte padding[64]{};
    auto const n = (grain - (reinterpret_cast<std::uintptr_t>(cursor_) + 1) % grain) % grain;
    padding[0] = static_cast<std::byte>(n);
    write(padding, 1 + n);
  }

  /// Appends a value of any type that can be a task's result.
  template <class T> void put(T const& value);

  /// Begins a part that is preceded by its number of bytes.
  ///
  /// Returns: the argument for end_part().
  std::uintptr_t begin_part() {
    constexpr std::uint64_t not_known_yet = 0;
    write(&not_known_yet, sizeof not_known_yet);
    return reinterpret_cast<std::uintptr_t>(cursor_) - moved_;
  }
  /// Ends the part and writes its number of bytes.
  void end_part(std::uintptr_t begun) {
    std::uint64_t const bytes = reinterpret_cast<std::uintptr_t>(cursor_) - moved_ - begun;
    std::memcpy(cursor_ - bytes - sizeof bytes, &bytes, sizeof bytes);
  }

 protected:
  writer() = default;
  ~writer() = default;

  /// Makes room for at least n more bytes after cursor_ and keeps the bytes before it.
  virtual void grow(std::size_t n) = 0;

  std::byte* cursor_ = nullptr;
  std::byte* end_ = nullptr;

 private:
  void make_room(std::size_t n) {
    auto const before = reinterpret_cast<std::uintptr_t>(cursor_);
    grow(n);
    moved_ += reinterpret_cast<std::uintptr_t>(cursor_) - before;
  }

  std::uintptr_t moved_ = 0;  // the sum of the distances by which grow() moved the buffer
};

/// Reads serialized values in the order in which a writer appended them: the argument of
/// serializer<T>::load.
class reader {
 public:
  reader(std::byte const* begin, std::byte const* end) noexcept : cursor_(begin), end_(end) {}

  /// Copies the next n raw bytes to `bytes`.
  ///
  /// Errors: std::runtime_error if fewer than n bytes are left, that is, load reads more than save
  ///   wrote.
  void read(void* bytes, std::size_t n) {
    auto const* from = take(n);
    if (n != 0) std::memcpy(bytes, from, n);
  }

  /// Skips the next n raw bytes.
  ///
  /// Returns: a pointer to them, valid while load() runs.
  /// Errors: as read().
  std::byte const* take(std::size_t n) {
    if (left() < n) [[unlikely]]
      throw detail::out_of_bytes(n - left());
    auto const* from = cursor_;
    cursor_ += n;
    return from;
  }

  /// Reads a number that writer::put_count wrote.
  std::uint64_t get_count() {
    std::uint64_t n = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      auto const next = std::to_integer<std::uint64_t>(*take(1));
      n |= (next & 0x7fU) << shift;
      if (next < 0x80) break;
    }
    return n;
  }

  /// Skips the padding that writer::align(grain) wrote. What follows may be at any address here: the
  /// bytes may have been copied since.
  void align(std::size_t /*grain*/) { take(std::to_integer<std::size_t>(*take(1))); }

  /// The number of bytes that are not read yet.
  std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - cursor_); }

  /// Reads a value that writer::put wrote.
  template <class T> T get();

 private:
  std::byte const* cursor_;
  std::byte const* end_;
};

}  // namespace forkmap
