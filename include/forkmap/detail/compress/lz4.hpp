// liblz4: lz4 frames.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include <forkmap/detail/compress/codec.hpp>
#include <forkmap/detail/lazily.hpp>
#include <forkmap/detail/made_once.hpp>
#include <forkmap/detail/os/library.hpp>
#include <forkmap/detail/owner.hpp>

namespace forkmap::detail {

/// The ABI of liblz4's frames, so that a program compiles the same with and without its header.
/// Source: lz4frame.h, 1.8.0 and newer.
struct lz4_preferences {
  int block_size;
  int block_mode;
  int content_checksum;
  int frame_type;
  unsigned long long content_bytes;
  unsigned dictionary;
  int block_checksum;
  int compression_level;
  unsigned auto_flush;
  unsigned favor_decompression_speed;
  unsigned reserved[3];
};
inline constexpr unsigned lz4_version = 100;  // LZ4F_VERSION

struct lz4_functions {
  using is_error_code = unsigned(std::size_t);
  using name_of_error = char const*(std::size_t);
  using create_context = std::size_t(void**, unsigned);
  using free_context = std::size_t(void*);
  using reset_context = void(void*);
  using run_decompress = std::size_t(void*, void*, std::size_t*, void const*, std::size_t*,
                                     void const*);
  using begin_compress = std::size_t(void*, void*, std::size_t, lz4_preferences const*);
  using bound_of_compress = std::size_t(std::size_t, lz4_preferences const*);
  using run_compress = std::size_t(void*, void*, std::size_t, void const*, std::size_t,
                                   void const*);
  using end_of_compress = std::size_t(void*, void*, std::size_t, void const*);

  function_source from{
      "liblz4.so.1",
      "liblz4-1",
      {"LZ4F_isError", "LZ4F_getErrorName", "LZ4F_createDecompressionContext", "LZ4F_decompress",
       "LZ4F_resetDecompressionContext", "LZ4F_freeDecompressionContext",
       "LZ4F_createCompressionContext", "LZ4F_compressBegin", "LZ4F_compressBound",
       "LZ4F_compressUpdate", "LZ4F_compressEnd", "LZ4F_freeCompressionContext"}};
  is_error_code* is_error = from.find<is_error_code>("LZ4F_isError");
  name_of_error* error_name = from.find<name_of_error>("LZ4F_getErrorName");
  create_context* create_decompression =
      from.find<create_context>("LZ4F_createDecompressionContext");
  run_decompress* decompress = from.find<run_decompress>("LZ4F_decompress");
  reset_context* reset_decompression = from.find<reset_context>("LZ4F_resetDecompressionContext");
  free_context* free_decompression = from.find<free_context>("LZ4F_freeDecompressionContext");
  create_context* create_compression = from.find<create_context>("LZ4F_createCompressionContext");
  begin_compress* compress_begin = from.find<begin_compress>("LZ4F_compressBegin");
  bound_of_compress* compress_bound = from.find<bound_of_compress>("LZ4F_compressBound");
  run_compress* compress_update = from.find<run_compress>("LZ4F_compressUpdate");
  end_of_compress* compress_end = from.find<end_of_compress>("LZ4F_compressEnd");
  free_context* free_compression = from.find<free_context>("LZ4F_freeCompressionContext");

  /// Errors: missing_library, on every call.
  static lz4_functions const& get() {
    static constinit std::atomic<lz4_functions const*> functions = nullptr;
    return made_once(functions, [] { return lz4_functions(); });
  }
};

template <class Lazy = void> class lz4_decompressor final : public decompressor {
 public:
  lz4_decompressor() : lz4_(&lz4_functions::get()) {
    if (lz4_->is_error(lz4_->create_decompression(&context_, lz4_version)) != 0) {
      throw std::bad_alloc();
    }
  }
  ~lz4_decompressor() override { lz4_->free_decompression(context_); }

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
  void* context_ = nullptr;
};

template <class Lazy = void> class lz4_compressor final : public compressor {
 public:
  explicit lz4_compressor(int level) : lz4_(&lz4_functions::get()) {
    preferences_.content_checksum = 1;
    preferences_.compression_level = std::max(level, 0);
    if (lz4_->is_error(lz4_->create_compression(&context_, lz4_version)) != 0) {
      throw std::bad_alloc();
    }
    // The frame header (19 bytes at most) and the first block may be written by one call.
    constexpr std::size_t head_bytes = 64;
    capacity_ = lz4_->compress_bound(buffer_bytes, &preferences_) + head_bytes;
    buffer_ = std::make_unique_for_overwrite<lazily<char[], Lazy>>(capacity_);
  }
  ~lz4_compressor() override { lz4_->free_compression(context_); }

  step run(std::string_view in, bool last) override {
    std::size_t used = 0;
    auto const add_written = [&](std::size_t result) {
      if (lz4_->is_error(result) != 0) {
        throw std::runtime_error(std::string("forkmap: lz4: ") + lz4_->error_name(result));
      }
      used += result;
    };
    if (!begun_) {
      add_written(lz4_->compress_begin(context_, buffer_.get(), capacity_, &preferences_));
      begun_ = true;
    }
    auto const now = in.substr(0, buffer_bytes);
    if (!now.empty()) {
      add_written(lz4_->compress_update(context_, buffer_.get() + used, capacity_ - used,
                                        now.data(), now.size(), nullptr));
    }
    bool const end = last && now.empty();
    if (end)
      add_written(lz4_->compress_end(context_, buffer_.get() + used, capacity_ - used, nullptr));
    return {now.size(), {buffer_.get(), used}, end};
  }

 private:
  lz4_functions const* lz4_;
  lz4_preferences preferences_{};
  void* context_ = nullptr;
  std::size_t capacity_ = 0;
  std::unique_ptr<lazily<char[], Lazy>> buffer_;
  bool begun_ = false;
};

template <class Lazy = void> owner<decompressor> make_lz4_unpacker() {
  return owner<decompressor>(new lz4_decompressor<Lazy>());
}
template <class Lazy = void> owner<compressor> make_lz4_packer(int level) {
  return owner<compressor>(new lz4_compressor<Lazy>(level));
}

}  // namespace forkmap::detail
