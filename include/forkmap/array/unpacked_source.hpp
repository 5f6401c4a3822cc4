// Compressed bytes of a file as what they were before: read forwards, checked as they come.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <forkmap/array/format.hpp>
#include <forkmap/array/packing.hpp>
#include <forkmap/system/codecs.hpp>
#include <forkmap/system/crc32.hpp>
#include <forkmap/system/lazily.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap::detail {

/// What a packed section of another source unpacks to: all streams in it, one after another, as the
/// compression tools do. A read before the position of the moment starts again.
///
/// Errors: format_error naming the file and the method, for a section that is damaged, cut short, no
///   such stream, or holds more or less than it says; and where the library is missing.
template <class Lazy = void> class unpacked_source final : public byte_source {
 public:
  /// `source` and its file's name outlive this.
  unpacked_source(byte_source const& source, packed_section const& section)
      : byte_source(source.file(), section.unpacked_bytes, {}),
        stream_(new stream(source, section)) {
    auto const got =
        stream_->unpack(std::span(first_bytes_).first(std::min(first_bytes_.size(), size())));
    set_first({first_bytes_.data(), got});
  }

  void read(std::size_t offset, std::span<char> out) const override {
    if (read_some(offset, out) != out.size()) stream_->fail_short(offset + out.size());
  }

  std::size_t read_some(std::size_t offset, std::span<char> out) const override {
    // The first bytes stay, so that a header can be looked at before what comes after it.
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
      if (stream_->unpack(std::span(skipped).first(left)) != left) return known;
    }
    return known + stream_->unpack(out.subspan(known));
  }

  /// Reads on to the end, if it is near, so that the stream's checksum has been looked at.
  void check_end() const {
    std::array<char, 4096> rest;
    stream_->unpack(rest);
  }

 private:
  class stream {
   public:
    stream(byte_source const& source, packed_section const& section)
        : source_(&source), section_(section) {
      try {
        unpacker_ = make_unpacker(section.method);
      } catch (missing_library const& error) {
        source.fail(described() + ", but " + error.what());
      }
    }

    std::size_t position() const { return position_; }

    void restart() {
      unpacker_->restart();
      taken_ = position_ = loaded_ = 0;
      waiting_ = {};
      ended_ = false;
      sum_ = {};
    }

    /// Unpacks until `out` is full or the section has ended; returns how many bytes there were.
    std::size_t unpack(std::span<char> out) {
      auto const wanted = out.size();
      while (!out.empty() && !ended_) {
        bool const all_in = refill();
        unpacker::step step{};
        try {
          step = unpacker_->run(waiting_, out);
        } catch (codec_error const& error) {
          fail("at byte " + std::to_string(section_.offset + taken_) + ": " + error.what());
        }
        waiting_.remove_prefix(step.taken);
        taken_ += step.taken;
        position_ += step.given;
        if (section_.crc32) sum_.add({out.data(), step.given});
        out = out.subspan(step.given);
        if (step.end) {
          end_stream();
        } else if (step.taken == 0 && step.given == 0) {
          if (all_in) fail("cut short after " + std::to_string(position_) + " bytes");
          fail("bad data");
        }
      }
      if (position_ > section_.unpacked_bytes) fail_long();
      if (ended_) check_whole();
      return wanted - out.size();
    }

    [[noreturn]] void fail_short(std::size_t wanted) const {
      fail("it ends after " + std::to_string(position_) + " bytes; there should be " +
           std::to_string(wanted) + " and more");
    }

   private:
    static constexpr std::size_t buffer_bytes = std::size_t{1} << 16U;

    std::string described() const {
      return "the file is compressed (" + std::string(name_of(section_.method)) + ")";
    }
    [[noreturn]] void fail(std::string const& what) const {
      source_->fail(std::string(name_of(section_.method)) + "-compressed data: " + what);
    }
    [[noreturn]] void fail_long() const {
      fail("more than the " + std::to_string(section_.unpacked_bytes) + " bytes that it should be");
    }

    /// Sees to it that there is something to unpack. Returns whether nothing comes after it.
    bool refill() {
      auto const left = section_.bytes - loaded_;
      if (waiting_.empty() && left != 0) {
        auto const now = std::min(buffer_bytes, left);
        if (!buffer_)
          buffer_ =
              std::make_unique_for_overwrite<lazily<char[], Lazy>>(std::min(buffer_bytes, left));
        source_->read(section_.offset + loaded_, {buffer_.get(), now});
        loaded_ += now;
        waiting_ = {buffer_.get(), now};
      }
      return loaded_ == section_.bytes;
    }

    /// Another stream may follow, and zeros may fill what was written in blocks.
    void end_stream() {
      for (;;) {
        bool const all_in = refill();
        if (section_.method != packing::deflate) {
          auto const zeros = std::min(waiting_.find_first_not_of('\0'), waiting_.size());
          waiting_.remove_prefix(zeros);
          taken_ += zeros;
        }
        if (!waiting_.empty()) break;
        if (!all_in) continue;
        ended_ = true;
        return;
      }
      if (section_.method == packing::deflate) fail("bytes after its end");
      unpacker_->restart();
    }

    void check_whole() const {
      if (section_.unpacked_bytes != unknown_size && position_ != section_.unpacked_bytes) {
        fail_short(section_.unpacked_bytes);
      }
      if (section_.crc32 && *section_.crc32 != sum_.value()) fail("its checksum (CRC-32) is wrong");
    }

    byte_source const* source_;
    packed_section section_;
    owner<unpacker> unpacker_;
    std::unique_ptr<lazily<char[], Lazy>> buffer_{};
    std::string_view waiting_{};  // read, and not unpacked
    std::size_t loaded_ = 0;      // of the section, into the buffer
    std::size_t taken_ = 0;       // of the section, by the unpacker
    std::size_t position_ = 0;    // unpacked
    bool ended_ = false;
    crc32_sum sum_{};
  };

  std::array<char, 1024> first_bytes_;
  owner<stream> stream_;  // moves on under a read, which is const for all others
};

}  // namespace forkmap::detail
