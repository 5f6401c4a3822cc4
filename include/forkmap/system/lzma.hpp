// liblzma: xz streams, and the older ones of lzma ("lzma-alone").
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string_view>

#if __has_include(<lzma.h>)
#include <lzma.h>
#endif

#include <forkmap/system/codec.hpp>
#include <forkmap/system/lazily.hpp>
#include <forkmap/system/library.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap::detail {

enum class lzma_container { xz, alone };

#if __has_include(<lzma.h>)

struct lzma_functions {
  function_source from{"liblzma.so.5",
                       "liblzma5",
                       {"lzma_stream_decoder", "lzma_alone_decoder", "lzma_easy_encoder",
                        "lzma_lzma_preset", "lzma_alone_encoder", "lzma_code", "lzma_end"}};
  decltype(&::lzma_stream_decoder) stream_decoder =
      from.find<decltype(::lzma_stream_decoder)>("lzma_stream_decoder");
  decltype(&::lzma_alone_decoder) alone_decoder =
      from.find<decltype(::lzma_alone_decoder)>("lzma_alone_decoder");
  decltype(&::lzma_easy_encoder) easy_encoder =
      from.find<decltype(::lzma_easy_encoder)>("lzma_easy_encoder");
  decltype(&::lzma_lzma_preset) preset =
      from.find<decltype(::lzma_lzma_preset)>("lzma_lzma_preset");
  decltype(&::lzma_alone_encoder) alone_encoder =
      from.find<decltype(::lzma_alone_encoder)>("lzma_alone_encoder");
  decltype(&::lzma_code) code = from.find<decltype(::lzma_code)>("lzma_code");
  decltype(&::lzma_end) end = from.find<decltype(::lzma_end)>("lzma_end");

  /// Errors: missing_library, each time anew.
  static lzma_functions const& get() {
    static lzma_functions const functions;
    return functions;
  }
};

template <class Lazy = void> class lzma_unpacker final : public unpacker {
 public:
  explicit lzma_unpacker(lzma_container container)
      : lzma_(&lzma_functions::get()), container_(container) {
    restart();
  }
  ~lzma_unpacker() override { lzma_->end(&stream_); }

  step run(std::string_view in, std::span<char> out) override {
    stream_.next_in = as_readable<std::uint8_t const>(in);
    stream_.avail_in = in.size();
    stream_.next_out = reinterpret_cast<std::uint8_t*>(out.data());
    stream_.avail_out = out.size();
    auto const result = lzma_->code(&stream_, LZMA_RUN);
    switch (result) {
      case LZMA_OK:
      case LZMA_BUF_ERROR:
      case LZMA_STREAM_END:
        break;
      case LZMA_MEM_ERROR:
        throw std::bad_alloc();
      case LZMA_MEMLIMIT_ERROR:
        throw codec_error(
            "its dictionary takes more than 256 MiB of memory; unpack the file first");
      case LZMA_FORMAT_ERROR:
        throw codec_error("no such stream begins here");
      case LZMA_OPTIONS_ERROR:
        throw codec_error("options that this liblzma does not know");
      default:
        throw codec_error("bad data, or a wrong checksum");
    }
    return {in.size() - stream_.avail_in, out.size() - stream_.avail_out,
            result == LZMA_STREAM_END};
  }

  void restart() override {
    // The head of a stream says how much memory it takes, and may say anything; the highest level
    // takes 65 MiB.
    constexpr std::uint64_t most_memory = std::uint64_t{1} << 28U;
    auto const result = container_ == lzma_container::xz
                            ? lzma_->stream_decoder(&stream_, most_memory, 0)
                            : lzma_->alone_decoder(&stream_, most_memory);
    if (result != LZMA_OK) throw std::bad_alloc();
  }

 private:
  lzma_functions const* lzma_;
  lzma_container container_;
  lzma_stream stream_{};
};

template <class Lazy = void> class lzma_packer final : public packer {
 public:
  lzma_packer(lzma_container container, int level) : lzma_(&lzma_functions::get()) {
    auto const preset = level < 0 ? LZMA_PRESET_DEFAULT : static_cast<std::uint32_t>(level);
    lzma_options_lzma options{};
    auto const result =
        container == lzma_container::xz   ? lzma_->easy_encoder(&stream_, preset, LZMA_CHECK_CRC64)
        : lzma_->preset(&options, preset) ? LZMA_OPTIONS_ERROR
                                          : lzma_->alone_encoder(&stream_, &options);
    if (result != LZMA_OK) throw std::bad_alloc();
  }
  ~lzma_packer() override { lzma_->end(&stream_); }

  step run(std::string_view in, bool last) override {
    stream_.next_in = as_readable<std::uint8_t const>(in);
    stream_.avail_in = in.size();
    stream_.next_out = reinterpret_cast<std::uint8_t*>(buffer_.get());
    stream_.avail_out = buffer_bytes;
    auto const result = lzma_->code(&stream_, last ? LZMA_FINISH : LZMA_RUN);
    if (result == LZMA_MEM_ERROR) throw std::bad_alloc();
    return {in.size() - stream_.avail_in,
            {buffer_.get(), buffer_bytes - stream_.avail_out},
            result == LZMA_STREAM_END};
  }

 private:
  lzma_functions const* lzma_;
  lzma_stream stream_{};
  std::unique_ptr<lazily<char[], Lazy>> buffer_ =
      std::make_unique_for_overwrite<lazily<char[], Lazy>>(buffer_bytes);
};

template <class Lazy = void> owner<unpacker> make_lzma_unpacker(lzma_container container) {
  return owner<unpacker>(new lzma_unpacker<Lazy>(container));
}
template <class Lazy = void> owner<packer> make_lzma_packer(lzma_container container, int level) {
  return owner<packer>(new lzma_packer<Lazy>(container, level));
}

#else

template <class Lazy = void> [[noreturn]] void throw_no_lzma() {
  throw missing_library(
      "the program was compiled without <lzma.h>; Debian's package liblzma-dev has it");
}
template <class Lazy = void> owner<unpacker> make_lzma_unpacker(lzma_container /*container*/) {
  throw_no_lzma();
}
template <class Lazy = void>
owner<packer> make_lzma_packer(lzma_container /*container*/, int /*level*/) {
  throw_no_lzma();
}

#endif

}  // namespace forkmap::detail
