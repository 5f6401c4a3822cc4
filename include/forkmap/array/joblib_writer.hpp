// Writes what joblib.load() reads, and maps: a pickle of protocol 4 without frames and memo, with the
// bytes of each array behind its wrapper, where they begin on a multiple of 64.
//
// Source: joblib/numpy_pickle.py.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <forkmap/array/content.hpp>
#include <forkmap/array/packed_sink.hpp>
#include <forkmap/array/packing.hpp>
#include <forkmap/array/pickle_opcode.hpp>
#include <forkmap/array/pickle_writer.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

template <class Lazy = void> class joblib_writer {
 public:
  explicit joblib_writer(byte_sink& out) : out_(&out) {}

  void write_file(content_value const& content) {
    out_->write("\x80\x04");
    write(content);
    text_.put(pickle_opcode::stop);
    flush();
  }

 private:
  static constexpr std::size_t alignment = 64;  // a byte tells the padding, and NumPy looks at none

  void flush() {
    out_->write(text_.bytes());
    text_.clear();
  }

  /// As deep as the C++ type that the content was made of.
  void write(content_value const& value) {
    switch (value.what) {
      case content_value::kind::none:
        return text_.put(pickle_opcode::none);
      case content_value::kind::boolean:
        return text_.put_boolean(value.boolean);
      case content_value::kind::integer:
        return text_.put_integer(value.integer);
      case content_value::kind::natural:
        return text_.put_natural(value.natural);
      case content_value::kind::real:
        return text_.put_real(value.real);
      case content_value::kind::text:
        return text_.put_text(value.text);
      case content_value::kind::array:
        return write_array(*value.array);
      case content_value::kind::list:
        return write_items(value, pickle_opcode::empty_list, pickle_opcode::appends);
      case content_value::kind::dict:
        return write_items(value, pickle_opcode::empty_dict, pickle_opcode::setitems);
      case content_value::kind::tuple:
        text_.put(pickle_opcode::mark);
        for (auto const& item : value.items) write(item);
        return text_.put(pickle_opcode::tuple);
    }
  }

  void write_items(content_value const& value, pickle_opcode begin, pickle_opcode end) {
    text_.put(begin);
    if (value.items.empty()) return;
    text_.put(pickle_opcode::mark);
    for (std::size_t i = 0; i < value.items.size(); ++i) {
      if (value.what == content_value::kind::dict) text_.put_text(value.keys[i]);
      write(value.items[i]);
      if (text_.bytes().size() > most_waiting) flush();
    }
    text_.put(end);
  }

  void write_array(array_content const& array) {
    text_.put_class("joblib.numpy_pickle", "NumpyArrayWrapper");
    text_.put(pickle_opcode::empty_tuple);
    text_.put(pickle_opcode::newobj);
    text_.put(pickle_opcode::empty_dict);
    text_.put(pickle_opcode::mark);
    text_.put_text("subclass");
    text_.put_class("numpy", "ndarray");
    text_.put_text("shape");
    text_.put_shape(array.dims);
    text_.put_text("order");
    text_.put_text(array.layout == order::fortran ? "F" : "C");
    text_.put_text("dtype");
    text_.put_dtype(array);
    text_.put_text("allow_mmap");
    text_.put_boolean(true);
    text_.put_text("numpy_array_alignment_bytes");
    text_.put_natural(alignment);
    text_.put(pickle_opcode::setitems);
    text_.put(pickle_opcode::build);
    flush();
    auto const after_count = out_->position() + 1;
    auto const padding = (alignment - after_count % alignment) % alignment;
    out_->write(std::string(1, static_cast<char>(padding)) + std::string(padding, '\xff'));
    out_->write_array(array);
  }

  static constexpr std::size_t most_waiting = std::size_t{1} << 16U;

  byte_sink* out_;
  pickle_writer<Lazy> text_{};
};

/// Only counts.
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
  if (options.method == packing::deflate) {
    throw unwritable_content("joblib has no deflate; it has zlib and gzip, which hold the same");
  }
  if (options.method != packing::none) {
    packed_sink<Lazy> packed(out, options);
    joblib_writer<Lazy>(packed).write_file(content);
    packed.finish();
    return;
  }
  counting_sink<Lazy> count;
  joblib_writer<Lazy>(count).write_file(content);
  out.reserve(count.position());
  joblib_writer<Lazy>(out).write_file(content);
}

}  // namespace forkmap::detail
