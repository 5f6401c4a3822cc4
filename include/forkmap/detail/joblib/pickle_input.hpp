// Input of the pickle reader: opcodes, names of classes, and the bytes of the file.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/lazily.hpp>

namespace forkmap::detail {

// The opcodes of Python's pickle that plain values and arrays need, and why the others are refused.

// clang-format off
/// As pickletools names them.
enum class pickle_opcode : std::uint8_t {
  mark = '(', stop = '.', pop = '0', pop_mark = '1', dup = '2',
  none = 'N', newtrue = 0x88, newfalse = 0x89,
  binint = 'J', binint1 = 'K', binint2 = 'M', long1 = 0x8a, long4 = 0x8b, binfloat = 'G',
  binunicode = 'X', short_binunicode = 0x8c, binunicode8 = 0x8d,
  binstring = 'T', short_binstring = 'U',
  binbytes = 'B', short_binbytes = 'C', binbytes8 = 0x8e, bytearray8 = 0x96,
  empty_list = ']', append = 'a', appends = 'e',
  empty_tuple = ')', tuple = 't', tuple1 = 0x85, tuple2 = 0x86, tuple3 = 0x87,
  empty_dict = '}', dict = 'd', list = 'l', setitem = 's', setitems = 'u',
  empty_set = 0x8f, additems = 0x90, frozenset = 0x91,
  binput = 'q', long_binput = 'r', binget = 'h', long_binget = 'j', memoize = 0x94,
  global = 'c', stack_global = 0x93, newobj = 0x81, reduce = 'R', build = 'b',
  proto = 0x80, frame = 0x95,
};
// clang-format on

/// The error text for an opcode that is none of these.
template <class Lazy = void> std::string refusal_of_opcode(unsigned opcode) {
  constexpr std::string_view digits = "0123456789abcdef";
  constexpr std::string_view oldest = "FILSVgip";
  constexpr std::string_view objects = "\x82\x83\x84\x92PQo";
  std::string const named =
      std::string("opcode 0x") + digits[opcode >> 4U & 15U] + digits[opcode & 15U];
  auto const letter = static_cast<char>(opcode);
  if (oldest.find(letter) != std::string_view::npos) {
    return named + " is of pickle protocol 0 or 1, which is not supported; use protocol 2 to 5";
  }
  if (objects.find(letter) != std::string_view::npos) {
    return named +
           " makes Python objects, which are not read; convert them to lists, dicts or arrays "
           "before joblib.dump";
  }
  if (opcode == 0x97 || opcode == 0x98) {
    return named +
           " needs a buffer from outside the file, which is not supported; dump without pickle's "
           "buffer_callback";
  }
  return named + " is not an opcode of pickle";
}

// The classes and functions that a pickle may name: those that arrays and plain values consist of.
// All other names are refused. Nothing is ever looked up in Python or called.

enum class pickle_global : std::uint8_t {
  wrapper,       // joblib's NumpyArrayWrapper
  array_class,   // ndarray, memmap, matrix
  dtype,         // numpy.dtype
  scalar,        // numpy's numbers: np.float64(2.5)
  encode,        // bytes in protocol 2: _codecs.encode(text, 'latin1')
  bytes,         // bytes() in protocol 2, bytearray
  set,           // set([...]) below protocol 4
  ordered_dict,  // collections.OrderedDict
};

template <class Lazy = void>
std::optional<lazily<pickle_global, Lazy>> find_global(std::string_view module,
                                                       std::string_view name) {
  struct allowed {
    std::string_view module;
    std::string_view name;
    pickle_global meaning;
  };
  using enum pickle_global;
  static constexpr allowed all[] = {
      {"joblib.numpy_pickle", "NumpyArrayWrapper", wrapper},
      {"sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper", wrapper},
      {"numpy", "ndarray", array_class},
      {"numpy", "memmap", array_class},
      {"numpy.core.memmap", "memmap", array_class},
      {"numpy", "matrix", array_class},
      {"numpy.matrixlib.defmatrix", "matrix", array_class},
      {"numpy", "dtype", dtype},
      {"numpy.core.multiarray", "scalar", scalar},
      {"numpy._core.multiarray", "scalar", scalar},
      {"_codecs", "encode", encode},
      {"__builtin__", "bytes", bytes},
      {"builtins", "bytes", bytes},
      {"__builtin__", "bytearray", bytes},
      {"builtins", "bytearray", bytes},
      {"__builtin__", "set", set},
      {"builtins", "set", set},
      {"__builtin__", "frozenset", set},
      {"builtins", "frozenset", set},
      {"collections", "OrderedDict", ordered_dict},
  };
  for (auto const& row : all) {
    if (row.module == module && row.name == name) return row.meaning;
  }
  return {};
}

/// The error text for a name that is not allowed.
template <class Lazy = void>
std::string refusal_of_global(std::string_view module, std::string_view name) {
  if (name == "NDArrayWrapper" || name == "ZNDArrayWrapper") {
    return "the file was written by joblib 0.9 or older, with its arrays in other files, which is "
           "not supported; load it with joblib and joblib.dump it again";
  }
  if (name == "_reconstruct" && module.starts_with("numpy.")) {
    return "the file is a plain pickle of a NumPy array, which is not supported; joblib.dump the "
           "array instead";
  }
  return "the file holds " + in_quotes(name) + " of the Python module " + in_quotes(module) +
         ", which is not read, because a pickle can run code; convert it to a list, dict or array "
         "before joblib.dump";
}

// The bytes of a pickle, taken in order and read ahead in large pieces. The bytes of arrays between
// them are skipped, not read.

template <class Lazy = void> class pickle_input {
 public:
  /// `source` must outlive this object.
  explicit pickle_input(byte_source const& source) : source_(&source), window_(source.first()) {}

  byte_source const& source() const { return *source_; }
  /// The offset of the next byte in the file.
  std::size_t position() const { return base_ + at_; }
  /// The number of bytes taken, without those skipped.
  std::size_t taken() const { return position() - skipped_; }

  [[noreturn]] void fail_at(std::size_t position, std::string const& problem) const {
    source_->fail("at byte " + std::to_string(position) + ": " + problem);
  }
  [[noreturn]] void fail(std::string const& problem) const { fail_at(position(), problem); }

  unsigned byte() {
    if (at_ == window_.size()) refill(1);
    return static_cast<unsigned char>(window_[at_++]);
  }

  /// Little-endian, of up to eight bytes.
  std::uint64_t number(std::size_t bytes) {
    std::uint64_t result = 0;
    auto const text = take(bytes);
    for (std::size_t i = 0; i < bytes; ++i) {
      result |= std::uint64_t{static_cast<unsigned char>(text[i])} << (8 * i);
    }
    return result;
  }

  static constexpr std::size_t most_taken = 256;

  /// The next bytes, at most `most_taken`. Valid until more bytes are taken.
  std::string_view take(std::size_t bytes) {
    if (bytes > window_.size() - at_) refill(bytes);
    at_ += bytes;
    return window_.substr(at_ - bytes, bytes);
  }

  /// Appends any number of bytes. `out` grows as they are read: a false length allocates nothing.
  void append_to(std::string& out, std::uint64_t bytes) {
    check_left(bytes);
    while (bytes != 0) {
      if (at_ == window_.size()) refill(1);
      auto const piece = std::min<std::uint64_t>(bytes, window_.size() - at_);
      out.append(window_, at_, static_cast<std::size_t>(piece));
      at_ += static_cast<std::size_t>(piece);
      bytes -= piece;
    }
  }

  /// A line without its end, at most `most_taken` long.
  std::string line() {
    std::string result;
    for (;;) {
      auto const c = static_cast<char>(byte());
      if (c == '\n') return result;
      result += c;
      if (result.size() > most_taken) fail("the name of a class has more than 256 characters");
    }
  }

  void check_left(std::uint64_t bytes) const {
    auto const left = source_->size() - position();
    if (bytes > left) {
      fail("the pickle needs " + std::to_string(bytes) + " bytes here, but the file has only " +
           std::to_string(left) + " left");
    }
  }

  /// Skips bytes. The caller has checked that the file has them, as check_left() does.
  void skip(std::size_t bytes) {
    skipped_ += bytes;
    if (bytes <= window_.size() - at_) {
      at_ += bytes;
      return;
    }
    base_ = position() + bytes;
    at_ = 0;
    window_ = {};
    ahead_ = least_ahead;  // another array may follow soon
  }

 private:
  static constexpr std::size_t least_ahead = 1024;
  static constexpr std::size_t most_ahead = std::size_t{1} << 16U;
  // Limit of the bytes kept in memory. Without its arrays, no sensible file has so many.
  static constexpr std::size_t longest_pickle = std::size_t{1} << 30U;

  /// Reads until the window has at least this many bytes.
  void refill(std::size_t bytes) {
    if (taken() > longest_pickle)
      fail("the pickle without its arrays is larger than the limit of 1 GiB");
    auto const rest = window_.substr(at_);
    if (!buffer_)
      buffer_ = std::make_unique_for_overwrite<lazily<char[], Lazy>>(most_taken + most_ahead);
    std::copy(rest.begin(), rest.end(), buffer_.get());
    base_ += at_;
    at_ = 0;
    auto size = rest.size();
    auto const got = source_->read_some(base_ + size, {buffer_.get() + size, ahead_});
    ahead_ = std::min(2 * ahead_, most_ahead);
    size += got;
    window_ = {buffer_.get(), size};
    if (size < bytes) {
      at_ = size;
      fail("the file ends inside its pickle");
    }
  }

  byte_source const* source_;
  std::string_view window_;  // the bytes of the file from base_ on
  std::size_t base_ = 0;
  std::size_t at_ = 0;  // the next byte, in the window
  std::size_t skipped_ = 0;
  std::size_t ahead_ = least_ahead;
  std::unique_ptr<lazily<char[], Lazy>> buffer_{};
};

}  // namespace forkmap::detail
