// libbz2: bzip2 streams.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <string_view>

#if __has_include(<bzlib.h>)
#include <bzlib.h>
#endif

#include <forkmap/system/codec.hpp>
#include <forkmap/system/lazily.hpp>
#include <forkmap/system/library.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap::detail {

#if __has_include(<bzlib.h>)

struct bzip2_functions {
  function_source from{"libbz2.so.1.0",
                       "libbz2-1.0",
                       {"BZ2_bzDecompressInit", "BZ2_bzDecompress", "BZ2_bzDecompressEnd",
                        "BZ2_bzCompressInit", "BZ2_bzCompress", "BZ2_bzCompressEnd"}};
  decltype(&::BZ2_bzDecompressInit) decompress_init =
      from.find<decltype(::BZ2_bzDecompressInit)>("BZ2_bzDecompressInit");
  decltype(&::BZ2_bzDecompress) decompress =
      from.find<decltype(::BZ2_bzDecompress)>("BZ2_bzDecompress");
  decltype(&::BZ2_bzDecompressEnd) decompress_end =
      from.find<decltype(::BZ2_bzDecompressEnd)>("BZ2_bzDecompressEnd");
  decltype(&::BZ2_bzCompressInit) compress_init =
      from.find<decltype(::BZ2_bzCompressInit)>("BZ2_bzCompressInit");
  decltype(&::BZ2_bzCompress) compress = from.find<decltype(::BZ2_bzCompress)>("BZ2_bzCompress");
  decltype(&::BZ2_bzCompressEnd) compress_end =
      from.find<decltype(::BZ2_bzCompressEnd)>("BZ2_bzCompressEnd");

  /// Errors: missing_library, each time anew.
  static bzip2_functions const& get() {
    static bzip2_functions const functions;
    return functions;
  }
};

template <class Lazy = void> class bzip2_unpacker final : public unpacker {
 public:
  bzip2_unpacker() : bzip2_(&bzip2_functions::get()) { begin(); }
  ~bzip2_unpacker() override { bzip2_->decompress_end(&stream_); }

  step run(std::string_view in, std::span<char> out) override {
    stream_.next_in = as_readable<char>(in);
    stream_.avail_in = countable(in.size());
    stream_.next_out = out.data();
    stream_.avail_out = countable(out.size());
    auto const result = bzip2_->decompress(&stream_);
    if (result == BZ_MEM_ERROR) throw std::bad_alloc();
    if (result == BZ_DATA_ERROR_MAGIC) throw codec_error("no bzip2 stream begins here");
    if (result != BZ_OK && result != BZ_STREAM_END) {
      throw codec_error("bad data, or a wrong checksum");
    }
    return {countable(in.size()) - stream_.avail_in, countable(out.size()) - stream_.avail_out,
            result == BZ_STREAM_END};
  }

  void restart() override {
    bzip2_->decompress_end(&stream_);
    begin();
  }

 private:
  void begin() {
    stream_ = {};
    if (bzip2_->decompress_init(&stream_, 0, 0) != BZ_OK) throw std::bad_alloc();
  }

  bzip2_functions const* bzip2_;
  bz_stream stream_{};
};

template <class Lazy = void> class bzip2_packer final : public packer {
 public:
  explicit bzip2_packer(int level) : bzip2_(&bzip2_functions::get()) {
    constexpr int usual_level = 9;
    if (bzip2_->compress_init(&stream_, level < 0 ? usual_level : level, 0, 0) != BZ_OK) {
      throw std::bad_alloc();
    }
  }
  ~bzip2_packer() override { bzip2_->compress_end(&stream_); }

  step run(std::string_view in, bool last) override {
    stream_.next_in = as_readable<char>(in);
    stream_.avail_in = countable(in.size());
    stream_.next_out = buffer_.get();
    stream_.avail_out = buffer_bytes;
    // Once it was told to finish it takes nothing new: only with the rest of all.
    bool const all = last && stream_.avail_in == in.size();
    auto const result = bzip2_->compress(&stream_, all ? BZ_FINISH : BZ_RUN);
    return {countable(in.size()) - stream_.avail_in,
            {buffer_.get(), buffer_bytes - stream_.avail_out},
            result == BZ_STREAM_END};
  }

 private:
  bzip2_functions const* bzip2_;
  bz_stream stream_{};
  std::unique_ptr<lazily<char[], Lazy>> buffer_ =
      std::make_unique_for_overwrite<lazily<char[], Lazy>>(buffer_bytes);
};

template <class Lazy = void> owner<unpacker> make_bzip2_unpacker() {
  return owner<unpacker>(new bzip2_unpacker<Lazy>());
}
template <class Lazy = void> owner<packer> make_bzip2_packer(int level) {
  return owner<packer>(new bzip2_packer<Lazy>(level));
}

#else

template <class Lazy = void> [[noreturn]] void throw_no_bzip2() {
  throw missing_library(
      "the program was compiled without <bzlib.h>; Debian's package libbz2-dev has it");
}
template <class Lazy = void> owner<unpacker> make_bzip2_unpacker() { throw_no_bzip2(); }
template <class Lazy = void> owner<packer> make_bzip2_packer(int /*level*/) { throw_no_bzip2(); }

#endif

}  // namespace forkmap::detail
