// NumPy's 'descr': an element type as a Python literal. A scalar is a string. A record is a list of
// (name, descr) or (name, descr, shape), with padding as void fields without a name.
//
// Source: numpy/lib/format.py, dtype_to_descr and descr_to_dtype.
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/detail/array/dtype.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/array/utf8.hpp>
#include <forkmap/detail/lazily.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

/// A tuple of non-negative integers.
template <class Lazy = void> shape parse_shape(literal_reader<Lazy>& in) {
  std::array<std::size_t, shape::max_rank> extents{};
  std::size_t rank = 0;
  in.expect('(');
  while (!in.accept(')')) {
    if (rank == shape::max_rank) in.fail("the shape has more than 64 axes");
    extents[rank++] = in.integer();
    if (in.accept(',')) continue;
    if (rank == 1) in.expect(',');  // (5) is a number in Python, not a tuple
    in.expect(')');
    break;
  }
  return shape(std::span<std::size_t const>(extents.data(), rank));
}

/// Reads a descr. Each field of a record begins where the previous one ends.
template <class Lazy = void> class descr_reader {
 public:
  explicit descr_reader(literal_reader<Lazy>& in) : in_(&in) {}

  element_type read() {
    if (in_->peek() == '[') return read_record();
    auto const text = in_->string();
    auto const type = parse_dtype<Lazy>(text);
    if (!type) in_->fail("unknown dtype " + in_quotes(text));
    last_scalar_ = text;
    return {*type, {}};
  }

  /// The last scalar as the file spells it: with the unit of a time, which dtype does not store.
  std::string last_scalar() const { return std::string(last_scalar_); }

 private:
  static constexpr int deepest = 32;

  element_type read_record() {
    if (++depth_ > deepest) in_->fail("records are nested more than 32 deep");
    element_type record{{'V', '|', 0}, {}};
    in_->expect('[');
    while (!in_->accept(']')) {
      read_field(record);
      if (in_->accept(',')) continue;
      in_->expect(']');
      break;
    }
    --depth_;
    check_names(record.fields);
    return record;
  }

  void read_field(element_type& record) {
    in_->expect('(');
    record_field field;
    field.name = read_name();
    in_->expect(',');
    auto element = read();
    field.type = element.type;
    field.fields = std::move(element.fields);
    if (in_->accept(',') && in_->peek() != ')') {
      field.dims = parse_shape(*in_);
      in_->accept(',');
    }
    in_->expect(')');
    if (field.type.kind == 'O') {
      in_->fail("the field " + in_quotes(field.name) +
                " holds Python objects, stored as a pickle; forkmap never reads them, because a "
                "pickle can run code");
    }

    field.offset = record.type.item_bytes;
    std::size_t count = 0;
    auto const item = field.type.item_bytes;
    if (!field.dims.try_count(count) ||
        (item != 0 && count > (shape::max_count - field.offset) / item)) {
      in_->fail("a record has more bytes than this machine can address");
    }
    record.type.item_bytes += count * item;
    bool const padding = field.name.empty() && field.type.kind == 'V' && field.fields.empty();
    if (padding) return;
    if (field.name.empty()) in_->fail("a field has no name");
    record.fields.push_back(std::move(field));
  }

  void check_names(std::vector<record_field> const& fields) const {
    std::vector<lazily<std::string_view, Lazy>> names;
    for (auto const& field : fields) names.push_back(field.name);
    if (auto const* const twice = find_twice(names)) {
      in_->fail("the field " + in_quotes(*twice) + " occurs twice");
    }
  }

  /// A name, or (title, name).
  std::string read_name() {
    if (!in_->accept('(')) return in_->text();
    in_->text();
    in_->expect(',');
    auto name = in_->text();
    in_->accept(',');
    in_->expect(')');
    return name;
  }

  literal_reader<Lazy>* in_;
  std::string_view last_scalar_{};
  int depth_ = 0;
};

/// The Python string literal of a UTF-8 text, as Python itself writes it.
template <class Lazy = void> std::string quoted_literal(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  bool const double_quotes =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  char const quote = double_quotes ? '"' : '\'';
  std::string result{quote};
  for (char const c : text) {
    auto const byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += "\\t";
    } else if (c == '\r') {
      result += "\\r";
    } else if (byte < 0x20 || byte == 0x7f) {
      result += {'\\', 'x', digits[byte >> 4U], digits[byte & 15U]};
    } else {
      if (c == quote || c == '\\') result += '\\';
      result += c;
    }
  }
  return result + quote;
}

/// The literal of an element type, as NumPy spells it. Fields without a name become f0, f1, ...
template <class Lazy = void> std::string descr_literal(element_type const& element) {
  if (element.fields.empty()) return "'" + spelling(element.type) + "'";
  std::string result = "[";
  std::size_t at = 0;
  auto const pad_to = [&](std::size_t offset) {
    if (offset > at) result += "('', '|V" + std::to_string(offset - at) + "'), ";
  };
  for (std::size_t i = 0; i < element.fields.size(); ++i) {
    auto const& field = element.fields[i];
    pad_to(field.offset);
    result += "(" + quoted_literal(field.name.empty() ? "f" + std::to_string(i) : field.name) +
              ", " + descr_literal({field.type, field.fields});
    if (field.dims.rank() > 0) result += ", " + field.dims.text();
    result += "), ";
    at = field.offset + field.bytes();
  }
  pad_to(element.type.item_bytes);
  result.resize(result.size() - 2);
  return result + "]";
}

/// The element type as inspect() and error texts show it.
template <class Lazy = void> std::string spelling(element_type const& element) {
  return element.fields.empty() ? spelling(element.type) : descr_literal(element);
}

}  // namespace forkmap::detail
