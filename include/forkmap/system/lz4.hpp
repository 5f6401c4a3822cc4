// liblz4: lz4 frames.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#if __has_include(<lz4frame.h>)
#include <lz4frame.h>
#endif

#include <forkmap/system/codec.hpp>
#include <forkmap/system/lazily.hpp>
#include <forkmap/system/library.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap::detail {

#if __has_include(<lz4frame.h>)

struct lz4_functions {
  function_source from{
      "liblz4.so.1",
      "liblz4-1",
      {"LZ4F_isError", "LZ4F_getErrorName", "LZ4F_createDecompressionContext", "LZ4F_decompress",
       "LZ4F_resetDecompressionContext", "LZ4F_freeDecompressionContext",
       "LZ4F_createCompressionContext", "LZ4F_compressBegin", "LZ4F_compressBound",
       "LZ4F_compressUpdate", "LZ4F_compressEnd", "LZ4F_freeCompressionContext"}};
  decltype(&::LZ4F_isError) is_error = from.find<decltype(::LZ4F_isError)>("LZ4F_isError");
  decltype(&::LZ4F_getErrorName) error_name =
      from.find<decltype(::LZ4F_getErrorName)>("LZ4F_getErrorName");
  decltype(&::LZ4F_createDecompressionContext) create_decompression =
      from.find<decltype(::LZ4F_createDecompressionContext)>("LZ4F_createDecompressionContext");
  decltype(&::LZ4F_decompress) decompress =
      from.find<decltype(::LZ4F_decompress)>("LZ4F_decompress");
  decltype(&::LZ4F_resetDecompressionContext) reset_decompression =
      from.find<decltype(::LZ4F_resetDecompressionContext)>("LZ4F_resetDecompressionContext");
  decltype(&::LZ4F_freeDecompressionContext) free_decompression =
      from.find<decltype(::LZ4F_freeDecompressionContext)>("LZ4F_freeDecompressionContext");
  decltype(&::LZ4F_createCompressionContext) create_compression =
      from.find<decltype(::LZ4F_createCompressionContext)>("LZ4F_createCompressionContext");
  decltype(&::LZ4F_compressBegin) compress_begin =
      from.find<decltype(::LZ4F_compressBegin)>("LZ4F_compressBegin");
  decltype(&::LZ4F_compressBound) compress_bound =
      from.find<decltype(::LZ4F_compressBound)>("LZ4F_compressBound");
  decltype(&::LZ4F_compressUpdate) compress_update =
      from.find<decltype(::LZ4F_compressUpdate)>("LZ4F_compressUpdate");
  decltype(&::LZ4F_compressEnd) compress_end =
      from.find<decltype(::LZ4F_compressEnd)>("LZ4F_compressEnd");
  decltype(&::LZ4F_freeCompressionContext) free_compression =
      from.find<decltype(::LZ4F_freeCompressionContext)>("LZ4F_freeCompressionContext");

  /// Errors: missing_library, each time anew.
  static lz4_functions const& get() {
    static lz4_functions const functions;
    return functions;
  }
};

template <class Lazy = void> class lz4_unpacker final : public unpacker {
 public:
  lz4_unpacker() : lz4_(&lz4_functions::get()) {
    if (lz4_->is_error(lz4_->create_decompression(&context_, LZ4F_VERSION)) != 0) {
      throw std::bad_alloc();
    }
  }
  ~lz4_unpacker() override { lz4_->free_decompression(context_); }

  step run(std::string_view in, std::span<char> out) override {
    auto taken = in.size();
    auto given = out.size();
    auto const result = lz4_->decompress(context_, out.data(), &given, in.data(), &taken, nullptr);
    if (lz4_->is_error(result) != 0) throw codec_error(lz4_->error_name(result));
    return {taken, given, result == 0};
  }

  void restart() override { lz4_->reset_decompression(context_); }

 private:
  lz4_functions const* lz4_;
  LZ4F_dctx* context_ = nullptr;
};

template <class Lazy = void> class lz4_packer final : public packer {
 public:
  explicit lz4_packer(int level) : lz4_(&lz4_functions::get()) {
    preferences_.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
    preferences_.compressionLevel = std::max(level, 0);
    if (lz4_->is_error(lz4_->create_compression(&context_, LZ4F_VERSION)) != 0) {
      throw std::bad_alloc();
    }
    // The frame's head (19 bytes at most) and the first block may come together.
    constexpr std::size_t head_bytes = 64;
    capacity_ = lz4_->compress_bound(buffer_bytes, &preferences_) + head_bytes;
    buffer_ = std::make_unique_for_overwrite<lazily<char[], Lazy>>(capacity_);
  }
  ~lz4_packer() override { lz4_->free_compression(context_); }

  step run(std::string_view in, bool last) override {
    std::size_t used = 0;
    auto const took = [&](std::size_t result) {
      if (lz4_->is_error(result) != 0) {
        throw std::runtime_error(std::string("forkmap: lz4: ") + lz4_->error_name(result));
      }
      used += result;
    };
    if (!begun_) {
      took(lz4_->compress_begin(context_, buffer_.get(), capacity_, &preferences_));
      begun_ = true;
    }
    auto const now = in.substr(0, buffer_bytes);
    if (!now.empty()) {
      took(lz4_->compress_update(context_, buffer_.get() + used, capacity_ - used, now.data(),
                                 now.size(), nullptr));
    }
    bool const end = last && now.empty();
    if (end) took(lz4_->compress_end(context_, buffer_.get() + used, capacity_ - used, nullptr));
    return {now.size(), {buffer_.get(), used}, end};
  }

 private:
  lz4_functions const* lz4_;
  LZ4F_preferences_t preferences_{};
  LZ4F_cctx* context_ = nullptr;
  std::size_t capacity_ = 0;
  std::unique_ptr<lazily<char[], Lazy>> buffer_;
  bool begun_ = false;
};

template <class Lazy = void> owner<unpacker> make_lz4_unpacker() {
  return owner<unpacker>(new lz4_unpacker<Lazy>());
}
template <class Lazy = void> owner<packer> make_lz4_packer(int level) {
  return owner<packer>(new lz4_packer<Lazy>(level));
}

#else

template <class Lazy = void> [[noreturn]] void throw_no_lz4() {
  throw missing_library(
      "the program was compiled without <lz4frame.h>; Debian's package liblz4-dev has it");
}
template <class Lazy = void> owner<unpacker> make_lz4_unpacker() { throw_no_lz4(); }
template <class Lazy = void> owner<packer> make_lz4_packer(int /*level*/) { throw_no_lz4(); }

#endif

}  // namespace forkmap::detail
