// Interface of the compression libraries: incremental compression and decompression. A new method
// is one header with these two classes and a row in codecs.hpp.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace forkmap::detail {

/// Thrown if compressed data is damaged, or not a stream of the expected method.
class codec_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Decompresses one stream after another.
class decompressor {
 public:
  struct step {
    std::size_t taken;  // bytes taken from `in`
    std::size_t given;  // bytes written to `out`
    bool end;           // end of the stream, with a right checksum; restart() begins the next
  };

  decompressor() = default;
  decompressor(decompressor const&) = delete;
  decompressor& operator=(decompressor const&) = delete;
  virtual ~decompressor() = default;

  /// Decompresses as much as possible. If it takes and gives nothing, it needs more input or, if
  /// `out` is empty, more room.
  /// Errors: codec_error.
  virtual step run(std::string_view in, std::span<char> out) = 0;
  virtual void restart() = 0;
};

/// Compresses one stream.
class compressor {
 public:
  struct step {
    std::size_t taken;     // bytes taken from `in`
    std::string_view out;  // valid until the next call
    bool end;              // end of the stream
  };

  compressor() = default;
  compressor(compressor const&) = delete;
  compressor& operator=(compressor const&) = delete;
  virtual ~compressor() = default;

  /// Compresses some of `in`. `last` says that no input follows; it is then called until the end.
  virtual step run(std::string_view in, bool last) = 0;

 protected:
  static constexpr std::size_t buffer_bytes = std::size_t{1} << 18U;
};

/// Limits a size to what libraries that count in unsigned int accept.
constexpr unsigned countable(std::size_t bytes) {
  constexpr std::size_t most = std::size_t{1} << 30U;
  return static_cast<unsigned>(bytes < most ? bytes : most);
}

/// The bytes as a pointer to non-const, which some libraries take although they only read.
template <class Byte> Byte* as_readable(std::string_view in) {
  return reinterpret_cast<Byte*>(const_cast<char*>(in.data()));
}

}  // namespace forkmap::detail
