// NumPy's .npy: bytes <-> meaning, versions 1.0 to 3.0. A header is data, never trusted: nothing is
// allocated or mapped on the strength of a claim that has not been checked against the file's size.
//
//   \x93NUMPY  major minor  length (u16, from 2.0 on u32, little-endian)  dict, spaces, \n  data
//
// Source: NEP 1 and numpy/lib/format.py, whose output this writes byte for byte.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/array/dtype.hpp>
#include <forkmap/array/format.hpp>
#include <forkmap/array/literal.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

inline constexpr std::string_view npy_magic = "\x93NUMPY";
inline constexpr std::size_t npy_alignment = 64;
// NumPy reads headers of 10 000 bytes without asking; records with many fields may take more.
inline constexpr std::size_t npy_longest_header = std::size_t{1} << 20U;

inline bool begins_npy(std::string_view first) { return first.starts_with(npy_magic); }

inline shape parse_npy_shape(literal_reader& in) {
  std::array<std::size_t, shape::max_rank> extents{};
  std::size_t rank = 0;
  in.expect('(');
  while (!in.accept(')')) {
    if (rank == shape::max_rank) in.fail("a shape of more than 64 extents");
    extents[rank++] = in.integer();
    if (in.accept(',')) continue;
    if (rank == 1) in.expect(',');  // (5) is a number in Python, not a tuple
    in.expect(')');
    break;
  }
  return shape(std::span<std::size_t const>(extents.data(), rank));
}

/// Reads the dict: exactly the three keys, each once, in any order. Sets all but offset and bytes.
inline stored_array parse_npy_dict(std::string_view text, std::filesystem::path const& file) {
  constexpr std::string_view keys[] = {"descr", "fortran_order", "shape"};
  literal_reader in(text, file);
  stored_array result;
  result.format = "npy";
  unsigned seen = 0;
  in.expect('{');
  while (!in.accept('}')) {
    auto const key = in.string();
    unsigned index = 0;
    while (index < 3 && keys[index] != key) ++index;
    if (index == 3) in.fail("unknown key " + in_quotes(key));
    if ((seen & (1U << index)) != 0) in.fail("the key " + in_quotes(key) + " twice");
    seen |= 1U << index;
    in.expect(':');
    if (index == 2) {
      result.dims = parse_npy_shape(in);
    } else if (index == 1) {
      result.layout = in.boolean() ? order::fortran : order::c;
    } else if (char const c = in.peek(); c == '[' || c == '(') {
      throw dtype_error("forkmap: " + file.string() +
                            ": the file holds records (a structured dtype), which this version "
                            "cannot read",
                        file);
    } else {
      result.descr = in.string();
    }
    if (in.accept(',')) continue;
    in.expect('}');
    break;
  }
  in.expect_end();
  for (unsigned index = 0; index < 3; ++index) {
    if ((seen & (1U << index)) == 0) in.fail("the key " + in_quotes(keys[index]) + " is missing");
  }
  auto const type = parse_dtype(result.descr);
  if (!type) in.fail("unknown dtype " + in_quotes(result.descr));
  result.type = *type;
  return result;
}

inline stored_array locate_npy(byte_source const& source) {
  auto const first = source.first();
  auto const byte = [first](std::size_t at) {
    return std::size_t{static_cast<unsigned char>(first[at])};
  };
  if (first.size() < npy_magic.size() + 2) source.fail("the file ends inside its .npy header");
  auto const major = byte(6);
  auto const minor = byte(7);
  if (major < 1 || major > 3 || minor != 0) {
    source.fail(".npy version " + std::to_string(major) + "." + std::to_string(minor) +
                " is not known; 1.0, 2.0 and 3.0 are");
  }
  std::size_t const length_bytes = major == 1 ? 2 : 4;
  std::size_t const start = npy_magic.size() + 2 + length_bytes;
  if (first.size() < start) source.fail("the file ends inside its .npy header");
  std::size_t length = 0;
  for (std::size_t i = 0; i < length_bytes; ++i) length |= byte(8 + i) << (8 * i);

  if (length > source.size() - start) {
    source.fail("the header claims " + std::to_string(length) + " bytes, the file has " +
                std::to_string(source.size() - start) + " left");
  }
  if (length > npy_longest_header) {
    source.fail("the header claims " + std::to_string(length) + " bytes; no more than " +
                std::to_string(npy_longest_header) + " are read");
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

  auto result = parse_npy_dict(text, source.file());
  result.offset = start + length;
  if (result.type.kind == 'O') {
    source.fail("the file holds Python objects (dtype " + in_quotes(result.descr) +
                "), which is a pickle; it is never read, because a pickle may run code");
  }
  std::size_t count = 0;
  auto const available = source.size() - result.offset;
  bool const fits = result.dims.try_count(count) &&
                    (result.type.item_bytes == 0 || count <= available / result.type.item_bytes);
  if (!fits) {
    source.fail("the header claims dims " + result.dims.text() + " of " + in_quotes(result.descr) +
                ", more than the " + std::to_string(available) + " bytes of data in the file");
  }
  result.bytes = count * result.type.item_bytes;
  return result;
}

/// Magic, version, length, `dict`, and spaces up to the alignment: exactly as NumPy pads.
inline std::string wrap_npy_dict(std::string dict) {
  for (unsigned const major : {1U, 2U}) {
    std::size_t const length_bytes = major == 1 ? 2 : 4;
    auto const start = npy_magic.size() + 2 + length_bytes;
    // A whole line of padding where none is needed: NumPy's arithmetic, kept.
    auto const padding = npy_alignment - (start + dict.size() + 1) % npy_alignment;
    auto const length = dict.size() + padding + 1;
    if (major == 1 && length > std::numeric_limits<std::uint16_t>::max()) continue;
    std::string result(npy_magic);
    result += {static_cast<char>(major), '\0'};
    for (std::size_t i = 0; i < length_bytes; ++i) {
      result += static_cast<char>((length >> (8 * i)) & 0xffU);
    }
    result += dict;
    result.append(padding, ' ');
    result += '\n';
    return result;
  }
  return {};  // not reached: version 2.0 takes any length
}

inline std::string npy_head(dtype const& type, shape const& dims, order layout) {
  std::string dict = "{'descr': '" + spelling(type) +
                     "', 'fortran_order': " + (layout == order::fortran ? "True" : "False") +
                     ", 'shape': " + dims.text() + ", }";
  if (dims.rank() > 0) {
    // NumPy leaves room for the growing axis to reach 21 digits in place.
    constexpr std::size_t most_digits = 21;
    auto const growing = dims[layout == order::fortran ? dims.rank() - 1 : 0];
    dict.append(most_digits - std::to_string(growing).size(), ' ');
  }
  return wrap_npy_dict(std::move(dict));
}

inline void write_npy_array(byte_sink& out, array_content const& content) {
  auto const head = npy_head(content.type, content.dims, content.layout);
  out.reserve(head.size() + content.bytes);
  out.write(head);
  out.write_array(content);
}

inline void write_npy(byte_sink& out, content_value const& content, write_options const& options) {
  if (content.what != content_value::kind::array) {
    throw std::invalid_argument(
        "an .npy file holds one array; .npz holds several by name, .joblib also lists, tuples, "
        "dicts, numbers and strings");
  }
  if (options.method != packing::none) {
    throw std::invalid_argument(
        "an .npy file cannot be compressed; .npz and .joblib files can be");
  }
  write_npy_array(out, *content.array);
}

class npy_directory final : public array_directory {
 public:
  stored_array find(byte_source const& source, std::string_view name) const override {
    if (!name.empty()) {
      source.fail("an .npy file holds one array without a name; none is called " + in_quotes(name));
    }
    return locate_npy(source);
  }
  std::vector<std::string> names() const override { return {std::string()}; }
};

inline std::unique_ptr<array_directory> read_npy(byte_source const& /*source*/) {
  return std::make_unique<npy_directory>();
}

inline constexpr array_format npy_format{"npy", begins_npy, read_npy, write_npy};

}  // namespace forkmap::detail
