// libbz2: bzip2 streams.
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <string_view>

#include <forkmap/detail/compress/codec.hpp>
#include <forkmap/detail/lazily.hpp>
#include <forkmap/detail/made_once.hpp>
#include <forkmap/detail/os/library.hpp>
#include <forkmap/detail/owner.hpp>

namespace forkmap::detail {

/// The ABI of libbz2 1.0, so that a program compiles the same with and without its header.
/// Source: bzlib.h.
struct bzip2_stream {
  char* next_in;
  unsigned avail_in;
  unsigned total_in_low;
  unsigned total_in_high;
  char* next_out;
  unsigned avail_out;
  unsigned total_out_low;
  unsigned total_out_high;
  void* state;
  void* (*allocate)(void*, int, int);
  void (*release)(void*, void*);
  void* opaque;
};
inline constexpr int bzip2_run = 0;  // BZ_RUN, and so on
inline constexpr int bzip2_finish = 2;
inline constexpr int bzip2_ok = 0;
inline constexpr int bzip2_stream_end = 4;
inline constexpr int bzip2_mem_error = -3;
inline constexpr int bzip2_data_error_magic = -5;

struct bzip2_functions {
  using init_decompress = int(bzip2_stream*, int, int);
  using init_compress = int(bzip2_stream*, int, int, int);
  using decompress_stream = int(bzip2_stream*);
  using compress_stream = int(bzip2_stream*, int);

  function_source from{"libbz2.so.1.0",
                       "libbz2-1.0",
                       {"BZ2_bzDecompressInit", "BZ2_bzDecompress", "BZ2_bzDecompressEnd",
                        "BZ2_bzCompressInit", "BZ2_bzCompress", "BZ2_bzCompressEnd"}};
  init_decompress* decompress_init = from.find<init_decompress>("BZ2_bzDecompressInit");
  decompress_stream* decompress = from.find<decompress_stream>("BZ2_bzDecompress");
  decompress_stream* decompress_end = from.find<decompress_stream>("BZ2_bzDecompressEnd");
  init_compress* compress_init = from.find<init_compress>("BZ2_bzCompressInit");
  compress_stream* compress = from.find<compress_stream>("BZ2_bzCompress");
  decompress_stream* compress_end = from.find<decompress_stream>("BZ2_bzCompressEnd");

  /// Errors: missing_library, on every call.
  static bzip2_functions const& get() {
    static constinit std::atomic<bzip2_functions const*> functions = nullptr;
    return made_once(functions, [] { return bzip2_functions(); });
  }
};

template <class Lazy = void> class bzip2_decompressor final : public decompressor {
 public:
  bzip2_decompressor() : bzip2_(&bzip2_functions::get()) { begin(); }
  ~bzip2_decompressor() override { bzip2_->decompress_end(&stream_); }

  step run(std::string_view in, std::span<char> out) override {
    stream_.next_in = as_readable<char>(in);
    stream_.avail_in = countable(in.size());
    stream_.next_out = out.data();
    stream_.avail_out = countable(out.size());
    auto const result = bzip2_->decompress(&stream_);
    if (result == bzip2_mem_error) throw std::bad_alloc();
    if (result == bzip2_data_error_magic) throw codec_error("not a bzip2 stream");
    if (result != bzip2_ok && result != bzip2_stream_end) {
      throw codec_error("damaged data or wrong checksum");
    }
    return {countable(in.size()) - stream_.avail_in, countable(out.size()) - stream_.avail_out,
            result == bzip2_stream_end};
  }

  void restart() override {
    bzip2_->decompress_end(&stream_);
    begin();
  }

 private:
  void begin() {
    stream_ = {};
    if (bzip2_->decompress_init(&stream_, 0, 0) != bzip2_ok) throw std::bad_alloc();
  }

  bzip2_functions const* bzip2_;
  bzip2_stream stream_{};
};

template <class Lazy = void> class bzip2_compressor final : public compressor {
 public:
  explicit bzip2_compressor(int level) : bzip2_(&bzip2_functions::get()) {
    constexpr int usual_level = 9;
    if (bzip2_->compress_init(&stream_, level < 0 ? usual_level : level, 0, 0) != bzip2_ok) {
      throw std::bad_alloc();
    }
  }
  ~bzip2_compressor() override { bzip2_->compress_end(&stream_); }

  step run(std::string_view in, bool last) override {
    stream_.next_in = as_readable<char>(in);
    stream_.avail_in = countable(in.size());
    stream_.next_out = buffer_.get();
    stream_.avail_out = buffer_bytes;
    // After BZ_FINISH, libbz2 accepts no new input. So it is passed with the last input only.
    bool const all = last && stream_.avail_in == in.size();
    auto const result = bzip2_->compress(&stream_, all ? bzip2_finish : bzip2_run);
    return {countable(in.size()) - stream_.avail_in,
            {buffer_.get(), buffer_bytes - stream_.avail_out},
            result == bzip2_stream_end};
  }

 private:
  bzip2_functions const* bzip2_;
  bzip2_stream stream_{};
  std::unique_ptr<lazily<char[], Lazy>> buffer_ =
      std::make_unique_for_overwrite<lazily<char[], Lazy>>(buffer_bytes);
};

template <class Lazy = void> owner<decompressor> make_bzip2_unpacker() {
  return owner<decompressor>(new bzip2_decompressor<Lazy>());
}
template <class Lazy = void> owner<compressor> make_bzip2_packer(int level) {
  return owner<compressor>(new bzip2_compressor<Lazy>(level));
}

}  // namespace forkmap::detail
