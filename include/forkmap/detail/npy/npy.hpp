// NumPy's .npy format, versions 1.0 to 3.0. Headers are not trusted: a size in a header is checked
// against the file's size before anything is allocated or mapped.
//
//   \x93NUMPY  major minor  length (u16, from 2.0 on u32, little-endian)  dict, spaces, \n  data
//
// Source: NEP 1 and numpy/lib/format.py, whose output this writes byte for byte.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/detail/array/descr.hpp>
#include <forkmap/detail/array/dtype.hpp>
#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/array/utf8.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

inline constexpr std::string_view npy_magic = "\x93NUMPY";
inline constexpr std::size_t npy_alignment = 64;
// NumPy reads headers of up to 10 000 bytes by default. Records with many fields may need more.
inline constexpr std::size_t npy_longest_header = std::size_t{1} << 20U;

template <class Lazy = void> bool begins_npy(std::string_view first) {
  return first.starts_with(npy_magic);
}

/// Parses the dict, which must have exactly the three keys, in any order. Sets all members except
/// offset and bytes.
template <class Lazy = void>
stored_array parse_npy_dict(std::string_view text, std::filesystem::path const& file) {
  constexpr std::string_view keys[] = {"descr", "fortran_order", "shape"};
  literal_reader<Lazy> in(text, file);
  stored_array result;
  result.format = "npy";
  unsigned seen = 0;
  in.expect('{');
  while (!in.accept('}')) {
    auto const key = in.string();
    unsigned index = 0;
    while (index < 3 && keys[index] != key) ++index;
    if (index == 3) in.fail("unknown key " + in_quotes(key));
    if ((seen & (1U << index)) != 0) in.fail("the key " + in_quotes(key) + " occurs twice");
    seen |= 1U << index;
    in.expect(':');
    if (index == 2) {
      result.dims = parse_shape(in);
    } else if (index == 1) {
      result.layout = in.boolean() ? order::fortran : order::c;
    } else {
      descr_reader<Lazy> reader(in);
      auto element = reader.read();
      result.descr = element.type.kind == 'V' ? spelling(element) : reader.last_scalar();
      result.type = element.type;
      result.fields = std::move(element.fields);
    }
    if (in.accept(',')) continue;
    in.expect('}');
    break;
  }
  in.expect_end();
  for (unsigned index = 0; index < 3; ++index) {
    if ((seen & (1U << index)) == 0) in.fail("the key " + in_quotes(keys[index]) + " is missing");
  }
  return result;
}

/// Finds the array of an .npy file. `listed`: to list it, not to read its elements.
/// Errors: format_error if the file is malformed, or holds Python objects and is not `listed`.
template <class Lazy = void>
stored_array locate_npy(byte_source const& source, bool listed = false) {
  auto const first = source.first();
  auto const byte = [first](std::size_t at) {
    return std::size_t{static_cast<unsigned char>(first[at])};
  };
  if (first.size() < npy_magic.size() + 2) source.fail("the file ends inside its .npy header");
  auto const major = byte(6);
  auto const minor = byte(7);
  if (major < 1 || major > 3 || minor != 0) {
    source.fail(".npy version " + std::to_string(major) + "." + std::to_string(minor) +
                " is not supported; 1.0, 2.0 and 3.0 are");
  }
  std::size_t const length_bytes = major == 1 ? 2 : 4;
  std::size_t const start = npy_magic.size() + 2 + length_bytes;
  if (first.size() < start) source.fail("the file ends inside its .npy header");
  std::size_t length = 0;
  for (std::size_t i = 0; i < length_bytes; ++i) length |= byte(8 + i) << (8 * i);

  if (length > source.size() - start) {
    source.fail("the header should have " + std::to_string(length) +
                " bytes, but the file has only " + std::to_string(source.size() - start) + " left");
  }
  if (length > npy_longest_header) {
    source.fail("the header has " + std::to_string(length) + " bytes; the limit is " +
                std::to_string(npy_longest_header));
  }
  std::string longer;
  std::string_view text;
  if (start + length <= first.size()) {
    text = first.substr(start, length);
  } else {
    longer.resize(length);
    source.read(start, longer);
    text = longer;
  }

  // Headers of versions 1.0 and 2.0 are Latin-1, of version 3.0 UTF-8.
  if (major < 3 && !is_ascii(text)) {
    longer = utf8_from_latin1(text);
    text = longer;
  } else if (major == 3 && !is_utf8(text)) {
    source.fail("the header is not UTF-8, which .npy version 3.0 requires");
  }

  auto result = parse_npy_dict(text, source.file());
  result.offset = start + length;
  if (result.type.kind == 'O') {
    if (listed) return result;
    source.fail("the array holds Python objects (dtype " + in_quotes(result.descr) +
                "), stored as a pickle; forkmap never reads them, because a pickle can run code");
  }
  std::size_t count = 0;
  auto const available = source.size() - result.offset;
  bool const fits = result.dims.try_count(count) &&
                    (result.type.item_bytes == 0 || count <= available / result.type.item_bytes);
  if (!fits) {
    source.fail("the array has dims " + result.dims.text() + " of " + in_quotes(result.descr) +
                ", which needs more than the " + std::to_string(available) +
                " bytes of data in the file");
  }
  result.bytes = count * result.type.item_bytes;
  return result;
}

/// The header: magic, version, length, `dict`, and spaces up to the alignment, padded exactly as
/// NumPy does. The version is the first that can hold `dict`: 1.0 (Latin-1, 16-bit length), 2.0
/// (Latin-1, 32-bit length) or 3.0 (UTF-8).
template <class Lazy = void> std::string wrap_npy_dict(std::string dict) {
  auto latin1 = latin1_from_utf8<Lazy>(dict);
  for (unsigned const major : {1U, 2U, 3U}) {
    if (major < 3 && !latin1) continue;
    auto const& text = major < 3 ? *latin1 : dict;
    std::size_t const length_bytes = major == 1 ? 2 : 4;
    auto const start = npy_magic.size() + 2 + length_bytes;
    // 64 bytes of padding where none is needed, as in NumPy.
    auto const padding = npy_alignment - (start + text.size() + 1) % npy_alignment;
    auto const length = text.size() + padding + 1;
    if (major == 1 && length > std::numeric_limits<std::uint16_t>::max()) continue;
    std::string result(npy_magic);
    result += {static_cast<char>(major), '\0'};
    for (std::size_t i = 0; i < length_bytes; ++i) {
      result += static_cast<char>((length >> (8 * i)) & 0xffU);
    }
    result += text;
    result.append(padding, ' ');
    result += '\n';
    return result;
  }
  return {};  // not reached: version 3.0 can hold any dict
}

template <class Lazy = void>
std::string npy_head(element_type const& element, shape const& dims, order layout) {
  std::string dict = "{'descr': " + descr_literal(element) +
                     ", 'fortran_order': " + (layout == order::fortran ? "True" : "False") +
                     ", 'shape': " + dims.text() + ", }";
  if (dims.rank() > 0) {
    // As in NumPy, the axis that may grow can be rewritten in place with up to 21 digits.
    constexpr std::size_t most_digits = 21;
    auto const growing = dims[layout == order::fortran ? dims.rank() - 1 : 0];
    dict.append(most_digits - std::to_string(growing).size(), ' ');
  }
  return wrap_npy_dict(std::move(dict));
}

template <class Lazy = void> void write_npy_array(byte_sink& out, array_content const& content) {
  auto const head = npy_head(content, content.dims, content.layout);
  out.reserve(head.size() + content.bytes);
  out.write(head);
  out.write_array(content);
}

template <class Lazy = void>
void write_npy(byte_sink& out, content_value const& content, write_options const& options) {
  if (content.what != content_value::kind::array) {
    throw unwritable_content(
        "an .npy file holds one array; .npz holds several by name, .joblib also lists, tuples, "
        "dicts, numbers and strings");
  }
  if (options.method != compression::none) {
    throw unwritable_content("an .npy file cannot be compressed; .npz and .joblib files can be");
  }
  write_npy_array(out, *content.array);
}

template <class Lazy = void> class npy_directory final : public array_directory {
 public:
  stored_array find(byte_source const& source, std::string_view name) const override {
    if (!name.empty()) {
      source.fail("an .npy file holds one array without a name; there is no array " +
                  in_quotes(name));
    }
    return locate_npy(source);
  }
  std::vector<std::string> names() const override { return {std::string()}; }
};

template <class Lazy = void> owner<array_directory> read_npy(byte_source const& /*source*/) {
  return owner<array_directory>(new npy_directory<Lazy>());
}

template <class Lazy = void>
inline constexpr array_format npy_format{"npy", begins_npy<Lazy>, read_npy<Lazy>, write_npy<Lazy>};

}  // namespace forkmap::detail
