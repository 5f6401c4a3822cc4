// Bytes on their way into a file, compressed as they come.
#pragma once

#include <cerrno>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

#include <forkmap/array/content.hpp>
#include <forkmap/array/packing.hpp>
#include <forkmap/system/call.hpp>
#include <forkmap/system/codecs.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap::detail {

/// Packs what is written into another sink, as one stream; complete only after finish().
///
/// Errors: missing_library.
template <class Lazy = void> class packed_sink final : public byte_sink {
 public:
  /// `out` outlives this.
  packed_sink(byte_sink& out, write_options const& options)
      : out_(&out), packer_(make_packer(options)) {}

  /// How long the stream becomes is not known.
  void reserve(std::size_t /*bytes*/) override {}

  void write(std::string_view bytes) override {
    position_ += bytes.size();
    while (!bytes.empty()) bytes.remove_prefix(run(bytes, false).taken);
  }

  [[noreturn]] void rewrite(std::size_t /*at*/, std::string_view /*bytes*/) override {
    throw std::logic_error("forkmap: what is compressed cannot be written over");
  }

  /// Of what is packed, not of what it becomes.
  std::size_t position() const override { return position_; }

  void finish() {
    while (!run({}, true).end) {
    }
  }

 private:
  packer::step run(std::string_view bytes, bool last) {
    auto const step = packer_->run(bytes, last);
    if (step.taken == 0 && step.out.empty() && !step.end) {
      throw std::logic_error("forkmap: the compression library does not go on");
    }
    out_->write(step.out);
    return step;
  }

  byte_sink* out_;
  owner<packer> packer_;
  std::size_t position_ = 0;
};

}  // namespace forkmap::detail
