// Where a value's bytes go and come from; the point where users add types of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace forkmap {

/// Tells forkmap how a type travels that it cannot see into. Specialise it:
///
///     template <> struct forkmap::serializer<matrix> {
///       static void save(forkmap::writer& out, matrix const& m) { out.put(m.rows()); ... }
///       static matrix load(forkmap::reader& in) { auto rows = in.get<std::size_t>(); ... }
///     };
///
/// Errors: what save throws is that task's exception; what load throws leaves the call, or is that
///   task's failure among outcomes.
/// Forking: save runs in the worker, load in the caller, on the same machine and program.
template <class T> struct serializer;

/// Takes the bytes of one value after the other.
class writer {
 public:
  writer(writer const&) = delete;
  writer& operator=(writer const&) = delete;

  /// Appends n raw bytes.
  void write(void const* bytes, std::size_t n) {
    if (static_cast<std::size_t>(end_ - cursor_) < n) grow(n);
    if (n != 0) std::memcpy(cursor_, bytes, n);
    cursor_ += n;
  }

  /// Appends a count: one byte for small ones, at most ten.
  /// Source: LEB128.
  void put_count(std::uint64_t n) {
    std::byte encoded[10];
    std::size_t length = 0;
    for (; n >= 0x80; n >>= 7U) encoded[length++] = static_cast<std::byte>((n & 0x7fU) | 0x80U);
    encoded[length++] = static_cast<std::byte>(n);
    write(encoded, length);
  }

  /// Appends padding up to the next multiple of `grain` (at most 64): the reader skips it with
  /// align.
  void align(std::size_t grain) {
    constexpr std::byte zeros[64]{};
    write(zeros, (grain - reinterpret_cast<std::uintptr_t>(cursor_) % grain) % grain);
  }

  /// Appends a value of any type that may be a task's result.
  template <class T> void put(T const& value);

 protected:
  writer() = default;
  ~writer() = default;

  /// Makes room for at least n more bytes behind cursor_, keeping what was written.
  virtual void grow(std::size_t n) = 0;

  std::byte* cursor_ = nullptr;
  std::byte* end_ = nullptr;
};

/// Gives back, in order, what a writer took.
class reader {
 public:
  reader(std::byte const* begin, std::byte const* end) noexcept : cursor_(begin), end_(end) {}

  /// Copies the next n raw bytes to `bytes`.
  /// Errors: std::runtime_error when fewer are left, which means that a load asks for more than its
  ///   save wrote.
  void read(void* bytes, std::size_t n) {
    auto const* from = take(n);
    if (n != 0) std::memcpy(bytes, from, n);
  }

  /// The next n raw bytes, in place.
  std::byte const* take(std::size_t n) {
    if (left() < n) {
      throw std::runtime_error(
          "forkmap: a result ends before its type does: serializer<T>::load reads more than "
          "serializer<T>::save wrote");
    }
    auto const* from = cursor_;
    cursor_ += n;
    return from;
  }

  /// Reads what writer::put_count wrote.
  std::uint64_t get_count() {
    std::uint64_t n = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      auto const next = std::to_integer<std::uint64_t>(*take(1));
      n |= (next & 0x7fU) << shift;
      if (next < 0x80) break;
    }
    return n;
  }

  /// Skips what writer::align wrote.
  void align(std::size_t grain) {
    take((grain - reinterpret_cast<std::uintptr_t>(cursor_) % grain) % grain);
  }

  std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - cursor_); }

  /// Reads a value that writer::put wrote.
  template <class T> T get();

 private:
  std::byte const* cursor_;
  std::byte const* end_;
};

}  // namespace forkmap
