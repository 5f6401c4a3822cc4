// liblzma: xz streams, and the older lzma streams ("lzma-alone").
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
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

enum class lzma_container { xz, alone };

/// The ABI of liblzma 5, so that a program compiles the same with and without its header.
/// Source: lzma/base.h, lzma/container.h.
struct lzma_stream_state {
  std::uint8_t const* next_in;
  std::size_t avail_in;
  std::uint64_t total_in;
  std::uint8_t* next_out;
  std::size_t avail_out;
  std::uint64_t total_out;
  void const* allocator;
  void* internal;
  void* reserved_pointers[4];
  std::uint64_t reserved_integers[2];
  std::size_t reserved_sizes[2];
  int reserved_enums[2];
};
/// lzma_options_lzma: written and read by the library alone. It has 112 bytes in 5.4.
struct alignas(8) lzma_options {
  std::byte bytes[512];
};
inline constexpr int lzma_run = 0;  // LZMA_RUN, and so on
inline constexpr int lzma_finish = 3;
inline constexpr int lzma_ok = 0;
inline constexpr int lzma_stream_end = 1;
inline constexpr int lzma_mem_error = 5;
inline constexpr int lzma_memlimit_error = 6;
inline constexpr int lzma_format_error = 7;
inline constexpr int lzma_options_error = 8;
inline constexpr int lzma_buf_error = 10;
inline constexpr int lzma_check_crc64 = 4;
inline constexpr std::uint32_t lzma_preset_default = 6;

struct lzma_functions {
  using start_decoder = int(lzma_stream_state*, std::uint64_t, std::uint32_t);
  using start_alone_decoder = int(lzma_stream_state*, std::uint64_t);
  using start_encoder = int(lzma_stream_state*, std::uint32_t, int);
  using fill_options = unsigned char(lzma_options*, std::uint32_t);
  using start_alone_encoder = int(lzma_stream_state*, lzma_options const*);
  using run_stream = int(lzma_stream_state*, int);
  using end_stream = void(lzma_stream_state*);

  function_source from{"liblzma.so.5",
                       "liblzma5",
                       {"lzma_stream_decoder", "lzma_alone_decoder", "lzma_easy_encoder",
                        "lzma_lzma_preset", "lzma_alone_encoder", "lzma_code", "lzma_end"}};
  start_decoder* stream_decoder = from.find<start_decoder>("lzma_stream_decoder");
  start_alone_decoder* alone_decoder = from.find<start_alone_decoder>("lzma_alone_decoder");
  start_encoder* easy_encoder = from.find<start_encoder>("lzma_easy_encoder");
  fill_options* preset = from.find<fill_options>("lzma_lzma_preset");
  start_alone_encoder* alone_encoder = from.find<start_alone_encoder>("lzma_alone_encoder");
  run_stream* code = from.find<run_stream>("lzma_code");
  end_stream* end = from.find<end_stream>("lzma_end");

  /// Errors: missing_library, on every call.
  static lzma_functions const& get() {
    static constinit std::atomic<lzma_functions const*> functions = nullptr;
    return made_once(functions, [] { return lzma_functions(); });
  }
};

template <class Lazy = void> class lzma_decompressor final : public decompressor {
 public:
  explicit lzma_decompressor(lzma_container container)
      : lzma_(&lzma_functions::get()), container_(container) {
    restart();
  }
  ~lzma_decompressor() override { lzma_->end(&stream_); }

  step run(std::string_view in, std::span<char> out) override {
    stream_.next_in = as_readable<std::uint8_t const>(in);
    stream_.avail_in = in.size();
    stream_.next_out = reinterpret_cast<std::uint8_t*>(out.data());
    stream_.avail_out = out.size();
    auto const result = lzma_->code(&stream_, lzma_run);
    switch (result) {
      case lzma_ok:
      case lzma_buf_error:
      case lzma_stream_end:
        break;
      case lzma_mem_error:
        throw std::bad_alloc();
      case lzma_memlimit_error:
        throw codec_error(
            "its dictionary needs more than 256 MiB of memory; decompress the file first");
      case lzma_format_error:
        throw codec_error("not an xz or lzma stream");
      case lzma_options_error:
        throw codec_error("the stream uses options that this liblzma does not support");
      default:
        throw codec_error("damaged data or wrong checksum");
    }
    return {in.size() - stream_.avail_in, out.size() - stream_.avail_out,
            result == lzma_stream_end};
  }

  void restart() override {
    // A stream's header states the memory that it needs, and may state any amount. The highest
    // level needs 65 MiB.
    constexpr std::uint64_t most_memory = std::uint64_t{1} << 28U;
    auto const result = container_ == lzma_container::xz
                            ? lzma_->stream_decoder(&stream_, most_memory, 0)
                            : lzma_->alone_decoder(&stream_, most_memory);
    if (result != lzma_ok) throw std::bad_alloc();
  }

 private:
  lzma_functions const* lzma_;
  lzma_container container_;
  lzma_stream_state stream_{};
};

template <class Lazy = void> class lzma_compressor final : public compressor {
 public:
  lzma_compressor(lzma_container container, int level) : lzma_(&lzma_functions::get()) {
    auto const preset = level < 0 ? lzma_preset_default : static_cast<std::uint32_t>(level);
    lzma_options options{};
    auto const result =
        container == lzma_container::xz ? lzma_->easy_encoder(&stream_, preset, lzma_check_crc64)
        : lzma_->preset(&options, preset) != 0 ? lzma_options_error
                                               : lzma_->alone_encoder(&stream_, &options);
    if (result != lzma_ok) throw std::bad_alloc();
  }
  ~lzma_compressor() override { lzma_->end(&stream_); }

  step run(std::string_view in, bool last) override {
    stream_.next_in = as_readable<std::uint8_t const>(in);
    stream_.avail_in = in.size();
    stream_.next_out = reinterpret_cast<std::uint8_t*>(buffer_.get());
    stream_.avail_out = buffer_bytes;
    auto const result = lzma_->code(&stream_, last ? lzma_finish : lzma_run);
    if (result == lzma_mem_error) throw std::bad_alloc();
    return {in.size() - stream_.avail_in,
            {buffer_.get(), buffer_bytes - stream_.avail_out},
            result == lzma_stream_end};
  }

 private:
  lzma_functions const* lzma_;
  lzma_stream_state stream_{};
  std::unique_ptr<lazily<char[], Lazy>> buffer_ =
      std::make_unique_for_overwrite<lazily<char[], Lazy>>(buffer_bytes);
};

template <class Lazy = void> owner<decompressor> make_lzma_unpacker(lzma_container container) {
  return owner<decompressor>(new lzma_decompressor<Lazy>(container));
}
template <class Lazy = void>
owner<compressor> make_lzma_packer(lzma_container container, int level) {
  return owner<compressor>(new lzma_compressor<Lazy>(container, level));
}

}  // namespace forkmap::detail
