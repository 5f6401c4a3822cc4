// The bytes of a pickle, taken one after another, with large reads ahead. Arrays that lie between
// them are stepped over and not read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <forkmap/array/format.hpp>
#include <forkmap/system/lazily.hpp>

namespace forkmap::detail {

template <class Lazy = void> class pickle_input {
 public:
  /// `source` outlives this.
  explicit pickle_input(byte_source const& source) : source_(&source), window_(source.first()) {}

  byte_source const& source() const { return *source_; }
  /// Where in the file the next byte lies.
  std::size_t position() const { return base_ + at_; }
  /// How many bytes have been taken, without those stepped over.
  std::size_t taken() const { return position() - skipped_; }

  [[noreturn]] void fail_at(std::size_t position, std::string const& what) const {
    source_->fail("at byte " + std::to_string(position) + ": " + what);
  }
  [[noreturn]] void fail(std::string const& what) const { fail_at(position(), what); }

  unsigned byte() {
    if (at_ == window_.size()) refill(1);
    return static_cast<unsigned char>(window_[at_++]);
  }

  /// Little-endian, of up to eight bytes.
  std::uint64_t number(std::size_t bytes) {
    std::uint64_t result = 0;
    auto const text = take(bytes);
    for (std::size_t i = 0; i < bytes; ++i) {
      result |= std::uint64_t{static_cast<unsigned char>(text[i])} << (8 * i);
    }
    return result;
  }

  static constexpr std::size_t most_taken = 256;

  /// The next bytes, at most `most_taken`; valid until something else is taken.
  std::string_view take(std::size_t bytes) {
    if (bytes > window_.size() - at_) refill(bytes);
    at_ += bytes;
    return window_.substr(at_ - bytes, bytes);
  }

  /// Appends the next bytes, any number: as they come, so that a claim allocates nothing.
  void append_to(std::string& out, std::uint64_t bytes) {
    check_left(bytes);
    while (bytes != 0) {
      if (at_ == window_.size()) refill(1);
      auto const now = std::min<std::uint64_t>(bytes, window_.size() - at_);
      out.append(window_, at_, static_cast<std::size_t>(now));
      at_ += static_cast<std::size_t>(now);
      bytes -= now;
    }
  }

  /// A line without its end, at most `most_taken` long.
  std::string line() {
    std::string result;
    for (;;) {
      auto const c = static_cast<char>(byte());
      if (c == '\n') return result;
      result += c;
      if (result.size() > most_taken) fail("a name of more than 256 characters");
    }
  }

  void check_left(std::uint64_t bytes) const {
    auto const left = source_->size() - position();
    if (bytes > left) {
      fail("the file claims " + std::to_string(bytes) + " bytes, it has " + std::to_string(left) +
           " left");
    }
  }

  /// Steps over bytes that check_left() has let pass.
  void skip(std::size_t bytes) {
    skipped_ += bytes;
    if (bytes <= window_.size() - at_) {
      at_ += bytes;
      return;
    }
    base_ = position() + bytes;
    at_ = 0;
    window_ = {};
    ahead_ = least_ahead;  // another array may follow soon
  }

 private:
  static constexpr std::size_t least_ahead = 1024;
  static constexpr std::size_t most_ahead = std::size_t{1} << 16U;
  // Of what is kept in memory; beside its arrays, no file that makes sense has so much.
  static constexpr std::size_t longest_pickle = std::size_t{1} << 30U;

  /// Sees to it that `bytes` are in the window.
  void refill(std::size_t bytes) {
    if (taken() > longest_pickle) fail("more than 1 GiB beside the arrays; it is not read");
    auto const rest = window_.substr(at_);
    if (!buffer_)
      buffer_ = std::make_unique_for_overwrite<lazily<char[], Lazy>>(most_taken + most_ahead);
    std::copy(rest.begin(), rest.end(), buffer_.get());
    base_ += at_;
    at_ = 0;
    auto size = rest.size();
    auto const got = source_->read_some(base_ + size, {buffer_.get() + size, ahead_});
    ahead_ = std::min(2 * ahead_, most_ahead);
    size += got;
    window_ = {buffer_.get(), size};
    if (size < bytes) {
      at_ = size;
      fail("the file ends inside its pickle");
    }
  }

  byte_source const* source_;
  std::string_view window_;  // of the file: from base_ on
  std::size_t base_ = 0;
  std::size_t at_ = 0;  // in the window
  std::size_t skipped_ = 0;
  std::size_t ahead_ = least_ahead;
  std::unique_ptr<lazily<char[], Lazy>> buffer_{};
};

}  // namespace forkmap::detail
