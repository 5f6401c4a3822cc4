// zlib: deflate, in its own wrapping, gzip's or none, and CRC-32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string_view>

#if __has_include(<zlib.h>)
#include <zlib.h>
#endif

#include <forkmap/system/codec.hpp>
#include <forkmap/system/lazily.hpp>
#include <forkmap/system/library.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap::detail {

/// What zlib calls windowBits says which wrapping is meant.
enum class deflate_wrapping { none = -15, zlib = 15, gzip = 31 };

#if __has_include(<zlib.h>)

struct zlib_functions {
  function_source from{"libz.so.1",
                       "zlib1g",
                       {"inflateInit2_", "inflateReset", "inflate", "inflateEnd", "deflateInit2_",
                        "deflate", "deflateEnd", "crc32"}};
  decltype(&::inflateInit2_) inflate_init = from.find<decltype(::inflateInit2_)>("inflateInit2_");
  decltype(&::inflateReset) inflate_reset = from.find<decltype(::inflateReset)>("inflateReset");
  decltype(&::inflate) inflate = from.find<decltype(::inflate)>("inflate");
  decltype(&::inflateEnd) inflate_end = from.find<decltype(::inflateEnd)>("inflateEnd");
  decltype(&::deflateInit2_) deflate_init = from.find<decltype(::deflateInit2_)>("deflateInit2_");
  decltype(&::deflate) deflate = from.find<decltype(::deflate)>("deflate");
  decltype(&::deflateEnd) deflate_end = from.find<decltype(::deflateEnd)>("deflateEnd");
  decltype(&::crc32) crc32 = from.find<decltype(::crc32)>("crc32");

  /// Errors: missing_library, each time anew.
  static zlib_functions const& get() {
    static zlib_functions const functions;
    return functions;
  }
};

template <class Lazy = void> class zlib_unpacker final : public unpacker {
 public:
  explicit zlib_unpacker(deflate_wrapping wrapping) : zlib_(&zlib_functions::get()) {
    if (zlib_->inflate_init(&stream_, static_cast<int>(wrapping), ZLIB_VERSION,
                            static_cast<int>(sizeof stream_)) != Z_OK) {
      throw std::bad_alloc();
    }
  }
  ~zlib_unpacker() override { zlib_->inflate_end(&stream_); }

  step run(std::string_view in, std::span<char> out) override {
    stream_.next_in = as_readable<Bytef>(in);
    stream_.avail_in = countable(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = countable(out.size());
    auto const result = zlib_->inflate(&stream_, Z_NO_FLUSH);
    if (result == Z_MEM_ERROR) throw std::bad_alloc();
    if (result == Z_NEED_DICT) throw codec_error("a dictionary is needed");
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
      throw codec_error(stream_.msg != nullptr ? stream_.msg : "bad data");
    }
    return {countable(in.size()) - stream_.avail_in, countable(out.size()) - stream_.avail_out,
            result == Z_STREAM_END};
  }

  void restart() override { zlib_->inflate_reset(&stream_); }

 private:
  zlib_functions const* zlib_;
  z_stream stream_{};
};

template <class Lazy = void> class zlib_packer final : public packer {
 public:
  zlib_packer(deflate_wrapping wrapping, int level) : zlib_(&zlib_functions::get()) {
    constexpr int usual_memory = 8;
    if (zlib_->deflate_init(&stream_, level, Z_DEFLATED, static_cast<int>(wrapping), usual_memory,
                            Z_DEFAULT_STRATEGY, ZLIB_VERSION,
                            static_cast<int>(sizeof stream_)) != Z_OK) {
      throw std::bad_alloc();
    }
  }
  ~zlib_packer() override { zlib_->deflate_end(&stream_); }

  step run(std::string_view in, bool last) override {
    stream_.next_in = as_readable<Bytef>(in);
    stream_.avail_in = countable(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(buffer_.get());
    stream_.avail_out = buffer_bytes;
    bool const all = last && stream_.avail_in == in.size();
    auto const result = zlib_->deflate(&stream_, all ? Z_FINISH : Z_NO_FLUSH);
    return {countable(in.size()) - stream_.avail_in,
            {buffer_.get(), buffer_bytes - stream_.avail_out},
            result == Z_STREAM_END};
  }

 private:
  zlib_functions const* zlib_;
  z_stream stream_{};
  std::unique_ptr<lazily<char[], Lazy>> buffer_ =
      std::make_unique_for_overwrite<lazily<char[], Lazy>>(buffer_bytes);
};

template <class Lazy = void> owner<unpacker> make_zlib_unpacker(deflate_wrapping wrapping) {
  return owner<unpacker>(new zlib_unpacker<Lazy>(wrapping));
}
template <class Lazy = void> owner<packer> make_zlib_packer(deflate_wrapping wrapping, int level) {
  return owner<packer>(new zlib_packer<Lazy>(wrapping, level));
}

#else

template <class Lazy = void> [[noreturn]] void throw_no_zlib() {
  throw missing_library(
      "the program was compiled without <zlib.h>; Debian's package zlib1g-dev has it");
}
template <class Lazy = void> owner<unpacker> make_zlib_unpacker(deflate_wrapping /*wrapping*/) {
  throw_no_zlib();
}
template <class Lazy = void>
owner<packer> make_zlib_packer(deflate_wrapping /*wrapping*/, int /*level*/) {
  throw_no_zlib();
}

#endif

}  // namespace forkmap::detail
