// Writer of plain values and NumPy's dtypes as opcodes of pickle's protocol 4.
//
// Source: cpython's Lib/pickle.py; numpy's arraydescr_reduce.
// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include <forkmap/detail/array/dtype.hpp>
#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/array/utf8.hpp>
#include <forkmap/detail/joblib/pickle_input.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

/// Opcodes and their arguments, collected in memory.
template <class Lazy = void> class pickle_writer {
 public:
  std::string const& bytes() const { return bytes_; }
  void clear() { bytes_.clear(); }

  void put(pickle_opcode opcode) { bytes_ += static_cast<char>(opcode); }

  void put_text(std::string_view text) {
    if (!is_utf8(text)) {
      throw unwritable_content("the text " + in_quotes(text) +
                               " is not UTF-8, as a Python str must be");
    }
    if (text.size() <= std::numeric_limits<std::uint8_t>::max()) {
      put_number(pickle_opcode::short_binunicode, text.size(), 1);
    } else if (text.size() <= std::numeric_limits<std::uint32_t>::max()) {
      put_number(pickle_opcode::binunicode, text.size(), 4);
    } else {
      put_number(pickle_opcode::binunicode8, text.size(), 8);
    }
    bytes_ += text;
  }

  void put_natural(std::uint64_t value) {
    if (value <= std::numeric_limits<std::uint8_t>::max()) {
      put_number(pickle_opcode::binint1, value, 1);
    } else if (value <= std::numeric_limits<std::uint16_t>::max()) {
      put_number(pickle_opcode::binint2, value, 2);
    } else if (value <= std::uint64_t{std::numeric_limits<std::int32_t>::max()}) {
      put_number(pickle_opcode::binint, value, 4);
    } else if (value <= std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
      put_number(pickle_opcode::long1, 8, 1);
      append(value, 8);
    } else {
      // LONG1 is signed: a ninth byte keeps the 64th bit from being the sign.
      put_number(pickle_opcode::long1, 9, 1);
      append(value, 8);
      bytes_ += '\0';
    }
  }

  void put_integer(std::int64_t value) {
    if (value >= 0) {
      put_natural(static_cast<std::uint64_t>(value));
    } else if (value >= std::numeric_limits<std::int32_t>::min()) {
      put_number(pickle_opcode::binint, static_cast<std::uint64_t>(value), 4);
    } else {
      put_number(pickle_opcode::long1, 8, 1);
      append(static_cast<std::uint64_t>(value), 8);
    }
  }

  void put_real(double value) {
    put(pickle_opcode::binfloat);
    auto const bits = std::bit_cast<std::uint64_t>(value);
    for (int shift = 56; shift >= 0; shift -= 8) bytes_ += static_cast<char>(bits >> shift & 0xffU);
  }

  void put_boolean(bool value) { put(value ? pickle_opcode::newtrue : pickle_opcode::newfalse); }

  void put_class(std::string_view module, std::string_view name) {
    put_text(module);
    put_text(name);
    put(pickle_opcode::stack_global);
  }

  void put_shape(shape const& dims) {
    put(pickle_opcode::mark);
    for (auto const extent : dims) put_natural(extent);
    put(pickle_opcode::tuple);
  }

  void put_dtype(element_type const& element) {
    auto const spelled = spelling(element.type);
    put_dtype_call(spelled.substr(1), spelled[0]);
    put(pickle_opcode::none);
    if (element.fields.empty()) {
      put(pickle_opcode::none);
      put(pickle_opcode::none);
    } else {
      put_fields(element);
    }
    put_sizes(element.type);
  }

 private:
  void append(std::uint64_t value, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) bytes_ += static_cast<char>(value >> (8 * i) & 0xffU);
  }

  void put_number(pickle_opcode opcode, std::uint64_t value, std::size_t bytes) {
    put(opcode);
    append(value, bytes);
  }

  /// numpy.dtype(code, False, True), and the beginning of its state, up to the byte order.
  void put_dtype_call(std::string_view code, char byte_order) {
    put_class("numpy", "dtype");
    put_text(code);
    put_boolean(false);
    put_boolean(true);
    put(pickle_opcode::tuple3);
    put(pickle_opcode::reduce);
    put(pickle_opcode::mark);
    put_natural(3);
    put_text({&byte_order, 1});
  }

  static std::size_t alignment_of(dtype const& type) {
    if (type.kind == 'S' || type.kind == 'V') return 1;
    return type.kind == 'U' ? sizeof(char32_t) : swapped_bytes(type);
  }

  /// The end of the state: bytes, alignment, flags. NumPy itself knows those of a plain number: -1.
  void put_sizes(dtype const& type) {
    constexpr std::uint64_t unicode_flags = 8;
    constexpr std::uint64_t void_flags = 16;
    bool const sized = type.kind == 'S' || type.kind == 'U' || type.kind == 'V';
    if (sized) {
      put_natural(type.item_bytes);
      put_natural(alignment_of(type));
    } else {
      put_integer(-1);
      put_integer(-1);
    }
    put_natural(type.kind == 'U' ? unicode_flags : type.kind == 'V' ? void_flags : 0);
    put(pickle_opcode::tuple);
    put(pickle_opcode::build);
  }

  static std::string name_of_field(element_type const& record, std::size_t i) {
    auto const& name = record.fields[i].name;
    return name.empty() ? "f" + std::to_string(i) : name;  // as NumPy names them
  }

  /// ('x', 'y'), {'x': (dtype, 0), 'y': (dtype, 8)}
  void put_fields(element_type const& record) {
    put(pickle_opcode::mark);
    for (std::size_t i = 0; i < record.fields.size(); ++i) put_text(name_of_field(record, i));
    put(pickle_opcode::tuple);
    put(pickle_opcode::empty_dict);
    put(pickle_opcode::mark);
    for (std::size_t i = 0; i < record.fields.size(); ++i) {
      auto const& field = record.fields[i];
      put_text(name_of_field(record, i));
      if (field.dims.rank() == 0) {
        put_dtype({field.type, field.fields});
      } else {
        put_sub_array(field);
      }
      put_natural(field.offset);
      put(pickle_opcode::tuple2);
    }
    put(pickle_opcode::setitems);
  }

  void put_sub_array(record_field const& field) {
    put_dtype_call("V" + std::to_string(field.bytes()), '|');
    put_dtype({field.type, field.fields});
    put_shape(field.dims);
    put(pickle_opcode::tuple2);
    put(pickle_opcode::none);
    put(pickle_opcode::none);
    put_natural(field.bytes());
    put_natural(alignment_of(field.type));
    put_natural(0);
    put(pickle_opcode::tuple);
    put(pickle_opcode::build);
  }

  std::string bytes_{};
};

}  // namespace forkmap::detail
