// Writer of files that joblib.load() reads and maps: a pickle of protocol 4 without frames and
// memo. The bytes of each array follow its wrapper, and begin at a multiple of 64.
//
// Source: joblib/numpy_pickle.py.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <forkmap/detail/array/compressed_file.hpp>
#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/compress/compression.hpp>
#include <forkmap/detail/joblib/pickle_input.hpp>
#include <forkmap/detail/joblib/pickle_writer.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

template <class Lazy = void> class joblib_writer {
 public:
  explicit joblib_writer(byte_sink& out) : out_(&out) {}

  void write_file(content_value const& content) {
    out_->write("\x80\x04");
    write(content);
    pickle_.put(pickle_opcode::stop);
    flush();
  }

 private:
  static constexpr std::size_t alignment = 64;  // one byte holds the padding's length

  void flush() {
    out_->write(pickle_.bytes());
    pickle_.clear();
  }

  /// Recursive, as deep as the C++ type of the content.
  void write(content_value const& value) {
    switch (value.what) {
      case content_value::kind::none:
        return pickle_.put(pickle_opcode::none);
      case content_value::kind::boolean:
        return pickle_.put_boolean(value.boolean);
      case content_value::kind::integer:
        return pickle_.put_integer(value.integer);
      case content_value::kind::natural:
        return pickle_.put_natural(value.natural);
      case content_value::kind::real:
        return pickle_.put_real(value.real);
      case content_value::kind::text:
        return pickle_.put_text(value.text);
      case content_value::kind::array:
        return write_array(*value.array);
      case content_value::kind::list:
        return write_items(value, pickle_opcode::empty_list, pickle_opcode::appends);
      case content_value::kind::dict:
        return write_items(value, pickle_opcode::empty_dict, pickle_opcode::setitems);
      case content_value::kind::tuple:
        pickle_.put(pickle_opcode::mark);
        for (auto const& item : value.items) write(item);
        return pickle_.put(pickle_opcode::tuple);
    }
  }

  void write_items(content_value const& value, pickle_opcode begin, pickle_opcode end) {
    pickle_.put(begin);
    if (value.items.empty()) return;
    pickle_.put(pickle_opcode::mark);
    for (std::size_t i = 0; i < value.items.size(); ++i) {
      if (value.what == content_value::kind::dict) pickle_.put_text(value.keys[i]);
      write(value.items[i]);
      if (pickle_.bytes().size() > most_buffered) flush();
    }
    pickle_.put(end);
  }

  void write_array(array_content const& array) {
    pickle_.put_class("joblib.numpy_pickle", "NumpyArrayWrapper");
    pickle_.put(pickle_opcode::empty_tuple);
    pickle_.put(pickle_opcode::newobj);
    pickle_.put(pickle_opcode::empty_dict);
    pickle_.put(pickle_opcode::mark);
    pickle_.put_text("subclass");
    pickle_.put_class("numpy", "ndarray");
    pickle_.put_text("shape");
    pickle_.put_shape(array.dims);
    pickle_.put_text("order");
    pickle_.put_text(array.layout == order::fortran ? "F" : "C");
    pickle_.put_text("dtype");
    pickle_.put_dtype(array);
    pickle_.put_text("allow_mmap");
    pickle_.put_boolean(true);
    pickle_.put_text("numpy_array_alignment_bytes");
    pickle_.put_natural(alignment);
    pickle_.put(pickle_opcode::setitems);
    pickle_.put(pickle_opcode::build);
    flush();
    auto const after_count = out_->position() + 1;
    auto const padding = (alignment - after_count % alignment) % alignment;
    out_->write(std::string(1, static_cast<char>(padding)) + std::string(padding, '\xff'));
    out_->write_array(array);
  }

  static constexpr std::size_t most_buffered = std::size_t{1} << 16U;

  byte_sink* out_;
  pickle_writer<Lazy> pickle_{};
};

/// A sink that only counts bytes.
template <class Lazy = void> class counting_sink final : public byte_sink {
 public:
  void reserve(std::size_t /*bytes*/) override {}
  void write(std::string_view bytes) override { position_ += bytes.size(); }
  void rewrite(std::size_t /*at*/, std::string_view /*bytes*/) override {}
  std::size_t position() const override { return position_; }
  void write_array(array_content const& content) override { position_ += content.bytes; }

 private:
  std::size_t position_ = 0;
};

template <class Lazy = void>
void write_joblib(byte_sink& out, content_value const& content, write_options const& options) {
  if (options.method == compression::deflate) {
    throw unwritable_content(
        "joblib does not support \"deflate\"; use \"zlib\" or \"gzip\", which hold the same");
  }
  if (options.method != compression::none) {
    compressed_sink<Lazy> compressed(out, options);
    joblib_writer<Lazy>(compressed).write_file(content);
    compressed.finish();
    return;
  }
  counting_sink<Lazy> count;
  joblib_writer<Lazy>(count).write_file(content);
  out.reserve(count.position());
  joblib_writer<Lazy>(out).write_file(content);
}

}  // namespace forkmap::detail
