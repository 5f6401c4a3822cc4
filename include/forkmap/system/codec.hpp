// What every compression library does, whatever it is called there: bytes in, bytes out, step by
// step. A new method is one header with these two classes and a row in codecs.hpp.
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace forkmap::detail {

/// What is to be unpacked is no such stream, or a damaged one.
class codec_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Unpacks one stream after another.
class unpacker {
 public:
  struct step {
    std::size_t taken;  // of `in`
    std::size_t given;  // into `out`
    bool end;           // of the stream; its checksum was right. restart() begins the next
  };

  unpacker() = default;
  unpacker(unpacker const&) = delete;
  unpacker& operator=(unpacker const&) = delete;
  virtual ~unpacker() = default;

  /// Does as much as it can. Neither taken nor given: it needs more of what it has none of.
  /// Errors: codec_error.
  virtual step run(std::string_view in, std::span<char> out) = 0;
  virtual void restart() = 0;
};

/// Packs one stream.
class packer {
 public:
  struct step {
    std::size_t taken;     // of `in`
    std::string_view out;  // valid until the next call
    bool end;              // of the stream
  };

  packer() = default;
  packer(packer const&) = delete;
  packer& operator=(packer const&) = delete;
  virtual ~packer() = default;

  /// Packs some of `in`; with `last`, to be called until the end, there is no more to come.
  virtual step run(std::string_view in, bool last) = 0;

 protected:
  static constexpr std::size_t buffer_bytes = std::size_t{1} << 18U;
};

/// Libraries that count in unsigned int get no more than they can count.
constexpr unsigned countable(std::size_t bytes) {
  constexpr std::size_t most = std::size_t{1} << 30U;
  return static_cast<unsigned>(bytes < most ? bytes : most);
}

/// Some libraries ask for pointers to non-const, though they only read.
template <class Byte> Byte* as_readable(std::string_view in) {
  return reinterpret_cast<Byte*>(const_cast<char*>(in.data()));
}

}  // namespace forkmap::detail
