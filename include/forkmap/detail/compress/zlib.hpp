// zlib: deflate streams in zlib's wrapping, gzip's or none, and CRC-32.
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string_view>

#include <forkmap/detail/compress/codec.hpp>
#include <forkmap/detail/lazily.hpp>
#include <forkmap/detail/made_once.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/library.hpp>
#include <forkmap/detail/owner.hpp>

namespace forkmap::detail {

/// The wrapping of a deflate stream, as the value of zlib's windowBits.
enum class deflate_wrapping { none = -15, zlib = 15, gzip = 31 };

/// The ABI of zlib 1, so that a program compiles the same with and without zlib's header.
/// Source: zlib.h, 1.2.0 and newer; zlib-ng in its compatible mode is the same.
struct zlib_stream {
  unsigned char const* next_in;
  unsigned avail_in;
  unsigned long total_in;
  unsigned char* next_out;
  unsigned avail_out;
  unsigned long total_out;
  char const* msg;
  void* state;
  void* (*zalloc)(void*, unsigned, unsigned);
  void (*zfree)(void*, void*);
  void* opaque;
  int data_type;
  unsigned long adler;
  unsigned long reserved;
};
inline constexpr char zlib_major_version[] = "1";  // zlib compares the first character
inline constexpr int zlib_no_flush = 0;            // Z_NO_FLUSH, and so on
inline constexpr int zlib_finish = 4;
inline constexpr int zlib_ok = 0;
inline constexpr int zlib_stream_end = 1;
inline constexpr int zlib_need_dict = 2;
inline constexpr int zlib_mem_error = -4;
inline constexpr int zlib_buf_error = -5;
inline constexpr int zlib_deflated = 8;
inline constexpr int zlib_default_strategy = 0;

struct zlib_functions {
  using init_inflate = int(zlib_stream*, int, char const*, int);
  using init_deflate = int(zlib_stream*, int, int, int, int, int, char const*, int);
  using run_stream = int(zlib_stream*, int);
  using end_stream = int(zlib_stream*);
  using add_to_crc = unsigned long(unsigned long, unsigned char const*, unsigned);

  function_source from{"libz.so.1",
                       "zlib1g",
                       {"inflateInit2_", "inflateReset", "inflate", "inflateEnd", "deflateInit2_",
                        "deflate", "deflateEnd", "crc32"}};
  init_inflate* inflate_init = from.find<init_inflate>("inflateInit2_");
  end_stream* inflate_reset = from.find<end_stream>("inflateReset");
  run_stream* inflate = from.find<run_stream>("inflate");
  end_stream* inflate_end = from.find<end_stream>("inflateEnd");
  init_deflate* deflate_init = from.find<init_deflate>("deflateInit2_");
  run_stream* deflate = from.find<run_stream>("deflate");
  end_stream* deflate_end = from.find<end_stream>("deflateEnd");
  add_to_crc* crc32 = from.find<add_to_crc>("crc32");

  /// Errors: missing_library, on every call.
  static zlib_functions const& get() {
    static constinit std::atomic<zlib_functions const*> functions = nullptr;
    return made_once(functions, [] { return zlib_functions(); });
  }
};

template <class Lazy = void> class zlib_decompressor final : public decompressor {
 public:
  explicit zlib_decompressor(deflate_wrapping wrapping) : zlib_(&zlib_functions::get()) {
    if (zlib_->inflate_init(&stream_, static_cast<int>(wrapping), zlib_major_version,
                            static_cast<int>(sizeof stream_)) != zlib_ok) {
      throw std::bad_alloc();
    }
  }
  ~zlib_decompressor() override { zlib_->inflate_end(&stream_); }

  step run(std::string_view in, std::span<char> out) override {
    stream_.next_in = as_readable<unsigned char>(in);
    stream_.avail_in = countable(in.size());
    stream_.next_out = reinterpret_cast<unsigned char*>(out.data());
    stream_.avail_out = countable(out.size());
    auto const result = zlib_->inflate(&stream_, zlib_no_flush);
    if (result == zlib_mem_error) throw std::bad_alloc();
    if (result == zlib_need_dict) throw codec_error("preset dictionaries are not supported");
    if (result != zlib_ok && result != zlib_stream_end && result != zlib_buf_error) {
      throw codec_error(stream_.msg != nullptr ? stream_.msg : "damaged data");
    }
    return {countable(in.size()) - stream_.avail_in, countable(out.size()) - stream_.avail_out,
            result == zlib_stream_end};
  }

  void restart() override { zlib_->inflate_reset(&stream_); }

 private:
  zlib_functions const* zlib_;
  zlib_stream stream_{};
};

template <class Lazy = void> class zlib_compressor final : public compressor {
 public:
  zlib_compressor(deflate_wrapping wrapping, int level) : zlib_(&zlib_functions::get()) {
    constexpr int usual_memory = 8;
    if (zlib_->deflate_init(&stream_, level, zlib_deflated, static_cast<int>(wrapping),
                            usual_memory, zlib_default_strategy, zlib_major_version,
                            static_cast<int>(sizeof stream_)) != zlib_ok) {
      throw std::bad_alloc();
    }
  }
  ~zlib_compressor() override { zlib_->deflate_end(&stream_); }

  step run(std::string_view in, bool last) override {
    stream_.next_in = as_readable<unsigned char>(in);
    stream_.avail_in = countable(in.size());
    stream_.next_out = reinterpret_cast<unsigned char*>(buffer_.get());
    stream_.avail_out = buffer_bytes;
    bool const all = last && stream_.avail_in == in.size();
    auto const result = zlib_->deflate(&stream_, all ? zlib_finish : zlib_no_flush);
    return {countable(in.size()) - stream_.avail_in,
            {buffer_.get(), buffer_bytes - stream_.avail_out},
            result == zlib_stream_end};
  }

 private:
  zlib_functions const* zlib_;
  zlib_stream stream_{};
  std::unique_ptr<lazily<char[], Lazy>> buffer_ =
      std::make_unique_for_overwrite<lazily<char[], Lazy>>(buffer_bytes);
};

template <class Lazy = void> owner<decompressor> make_zlib_unpacker(deflate_wrapping wrapping) {
  return owner<decompressor>(new zlib_decompressor<Lazy>(wrapping));
}
template <class Lazy = void>
owner<compressor> make_zlib_packer(deflate_wrapping wrapping, int level) {
  return owner<compressor>(new zlib_compressor<Lazy>(wrapping, level));
}

/// Incremental CRC-32, by zlib.
/// Errors: missing_library.
class crc32_sum {
 public:
  void add(std::string_view bytes) {
    auto* const add_to_crc = zlib_functions::get().crc32;
    while (!bytes.empty()) {
      auto const n_bytes = countable(bytes.size());
      sum_ = static_cast<std::uint32_t>(
          add_to_crc(sum_, reinterpret_cast<unsigned char const*>(bytes.data()), n_bytes));
      bytes.remove_prefix(n_bytes);
    }
  }
  std::uint32_t value() const { return sum_; }

 private:
  std::uint32_t sum_ = 0;
};

}  // namespace forkmap::detail
