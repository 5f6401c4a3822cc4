// Streams that compress a file's bytes as they are written, and decompress them as they are read.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/compress/codecs.hpp>
#include <forkmap/detail/compress/compression.hpp>
#include <forkmap/detail/compress/zlib.hpp>
#include <forkmap/detail/lazily.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/owner.hpp>

namespace forkmap::detail {

// Compression while writing.

/// Compresses written bytes into another sink, as one stream. It is complete only after finish().
///
/// Errors: missing_library.
template <class Lazy = void> class compressed_sink final : public byte_sink {
 public:
  /// `out` must outlive this object.
  compressed_sink(byte_sink& out, write_options const& options)
      : out_(&out), compressor_(make_compressor(options)) {}

  /// Does nothing: the compressed size is not known in advance.
  void reserve(std::size_t /*bytes*/) override {}

  void write(std::string_view bytes) override {
    position_ += bytes.size();
    while (!bytes.empty()) bytes.remove_prefix(run(bytes, false).taken);
  }

  [[noreturn]] void rewrite(std::size_t /*at*/, std::string_view /*bytes*/) override {
    throw std::logic_error("forkmap: compressed data cannot be overwritten");
  }

  /// In uncompressed bytes.
  std::size_t position() const override { return position_; }

  void finish() {
    while (!run({}, true).end) {
    }
  }

 private:
  compressor::step run(std::string_view bytes, bool last) {
    auto const step = compressor_->run(bytes, last);
    if (step.taken == 0 && step.out.empty() && !step.end) {
      throw std::logic_error("forkmap: the compression library makes no progress");
    }
    out_->write(step.out);
    return step;
  }

  byte_sink* out_;
  owner<compressor> compressor_;
  std::size_t position_ = 0;
};

// Decompression while reading.

/// The decompressed bytes of a section of another source: those of all streams in it, one after
/// another, as the compression tools do. A read before the current position decompresses the
/// section again from its beginning.
///
/// Errors: format_error with the file and the method if the section is damaged, truncated, not such
///   a stream, or longer or shorter than stated, or if the compression library is missing.
template <class Lazy = void> class decompressed_source final : public byte_source {
 public:
  /// `source` and its file name must outlive this object.
  decompressed_source(byte_source const& source, compressed_section const& section)
      : byte_source(source.file(), section.unpacked_bytes, {}),
        stream_(new stream(source, section)) {
    auto const got =
        stream_->decompress(std::span(first_bytes_).first(std::min(first_bytes_.size(), size())));
    set_first({first_bytes_.data(), got});
  }

  void read(std::size_t offset, std::span<char> out) const override {
    if (read_some(offset, out) != out.size()) stream_->fail_short(offset + out.size());
  }

  std::size_t read_some(std::size_t offset, std::span<char> out) const override {
    // The first bytes are kept, so that reading a header again does not restart the stream.
    std::size_t known = 0;
    if (offset < first().size()) {
      auto const bytes = first().substr(offset, out.size());
      std::copy(bytes.begin(), bytes.end(), out.begin());
      known = bytes.size();
    }
    if (known == out.size()) return known;
    offset += known;
    if (offset < stream_->position()) stream_->restart();
    std::array<char, 4096> skipped;
    while (stream_->position() < offset) {
      auto const left = std::min(skipped.size(), offset - stream_->position());
      if (stream_->decompress(std::span(skipped).first(left)) != left) return known;
    }
    return known + stream_->decompress(out.subspan(known));
  }

  /// Reads up to 4096 more bytes, so that a stream that ends there has its checksum checked.
  void check_end() const {
    std::array<char, 4096> rest;
    stream_->decompress(rest);
  }

 private:
  class stream {
   public:
    stream(byte_source const& source, compressed_section const& section)
        : source_(&source), section_(section) {
      try {
        decompressor_ = make_decompressor(section.method);
      } catch (missing_library const& error) {
        source.fail(described() + ", but " + error.what());
      }
    }

    std::size_t position() const { return position_; }

    void restart() {
      decompressor_->restart();
      taken_ = position_ = loaded_ = 0;
      input_ = {};
      ended_ = false;
      sum_ = {};
    }

    /// Decompresses until `out` is full or the section ends. Returns the number of bytes.
    std::size_t decompress(std::span<char> out) {
      auto const wanted = out.size();
      while (!out.empty() && !ended_) {
        bool const all_read = refill();
        decompressor::step step{};
        try {
          step = decompressor_->run(input_, out);
        } catch (codec_error const& error) {
          fail("at byte " + std::to_string(section_.offset + taken_) + ": " + error.what());
        }
        input_.remove_prefix(step.taken);
        taken_ += step.taken;
        position_ += step.given;
        if (section_.crc32) sum_.add({out.data(), step.given});
        out = out.subspan(step.given);
        if (step.end) {
          end_stream();
        } else if (step.taken == 0 && step.given == 0) {
          if (all_read) fail("truncated after " + std::to_string(position_) + " bytes");
          fail("damaged data");
        }
      }
      if (position_ > section_.unpacked_bytes) fail_long();
      if (ended_) check_whole();
      return wanted - out.size();
    }

    [[noreturn]] void fail_short(std::size_t wanted) const {
      fail("ends after " + std::to_string(position_) + " bytes; expected at least " +
           std::to_string(wanted));
    }

   private:
    static constexpr std::size_t buffer_bytes = std::size_t{1} << 16U;

    std::string described() const {
      return "the file is compressed (" + std::string(name_of(section_.method)) + ")";
    }
    [[noreturn]] void fail(std::string const& problem) const {
      source_->fail(std::string(name_of(section_.method)) + "-compressed data: " + problem);
    }
    [[noreturn]] void fail_long() const {
      fail("longer than the expected " + std::to_string(section_.unpacked_bytes) + " bytes");
    }

    /// Reads more input if there is none. Returns whether all of the section has been read.
    bool refill() {
      auto const left = section_.bytes - loaded_;
      if (input_.empty() && left != 0) {
        auto const bytes = std::min(buffer_bytes, left);
        if (!buffer_)
          buffer_ =
              std::make_unique_for_overwrite<lazily<char[], Lazy>>(std::min(buffer_bytes, left));
        source_->read(section_.offset + loaded_, {buffer_.get(), bytes});
        loaded_ += bytes;
        input_ = {buffer_.get(), bytes};
      }
      return loaded_ == section_.bytes;
    }

    /// Another stream may follow. Zeros may fill the last block of a file written in blocks.
    void end_stream() {
      for (;;) {
        bool const all_read = refill();
        if (section_.method != compression::deflate) {
          auto const zeros = std::min(input_.find_first_not_of('\0'), input_.size());
          input_.remove_prefix(zeros);
          taken_ += zeros;
        }
        if (!input_.empty()) break;
        if (!all_read) continue;
        ended_ = true;
        return;
      }
      if (section_.method == compression::deflate) fail("unexpected bytes after its end");
      decompressor_->restart();
    }

    void check_whole() const {
      if (section_.unpacked_bytes != unknown_size && position_ != section_.unpacked_bytes) {
        fail_short(section_.unpacked_bytes);
      }
      if (section_.crc32 && *section_.crc32 != sum_.value()) fail("its checksum (CRC-32) is wrong");
    }

    byte_source const* source_;
    compressed_section section_;
    owner<decompressor> decompressor_;
    std::unique_ptr<lazily<char[], Lazy>> buffer_{};
    std::string_view input_{};  // in the buffer, not yet decompressed
    std::size_t loaded_ = 0;    // bytes of the section read into the buffer
    std::size_t taken_ = 0;     // bytes of the section taken by the decompressor
    std::size_t position_ = 0;  // decompressed bytes
    bool ended_ = false;
    crc32_sum sum_{};
  };

  std::array<char, 1024> first_bytes_;
  owner<stream> stream_;  // a read advances it, though read() is const
};

}  // namespace forkmap::detail
