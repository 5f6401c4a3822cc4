// Functions that load an array from a file, mapped or copied.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <forkmap/access.hpp>
#include <forkmap/detail/array/array_reader.hpp>
#include <forkmap/detail/array/dtype.hpp>
#include <forkmap/detail/array/element.hpp>
#include <forkmap/detail/compress/compression.hpp>
#include <forkmap/detail/mapped/mapped_file.hpp>
#include <forkmap/detail/os/library.hpp>
#include <forkmap/error.hpp>
#include <forkmap/inspect.hpp>
#include <forkmap/memmap.hpp>
#include <forkmap/owned_array.hpp>

namespace forkmap {
namespace detail {

template <class Lazy = void>
[[noreturn]] void throw_dtype(std::filesystem::path const& file, std::string const& what) {
  throw dtype_error("forkmap: load " + file.native() + ": " + what, file);
}

/// Throws dtype_error if the file's elements differ from the requested ones, and says how they
/// differ. `name`: the array's name in a file of several.
template <class Lazy = void>
void check_elements(std::filesystem::path const& file, std::string_view name,
                    stored_array const& array, element_type const& wanted, bool must_match_layout) {
  auto const type_text = [](element_type const& element) {
    return element.fields.empty()
               ? spelling_and_name(element.type)
               : "records of " + std::to_string(element.fields.size()) + " fields";
  };
  auto const holds = (name.empty() ? "the file holds " : in_quotes(name) + " holds ") +
                     type_text(array) + ", not " + type_text(wanted);
  auto const named = name.empty() ? std::string("file") : "file, " + in_quotes(name);
  if (array.fields.empty() != wanted.fields.empty()) {
    throw_dtype(file, holds + (array.fields.empty() ? "" : ": " + array.descr));
  }
  if (array.fields.empty()) {
    auto const cpp = cpp_name(array.type);
    if (!same_scalar(array.type, wanted.type)) {
      throw_dtype(file, holds + (cpp.empty() ? "; forkmap has no C++ type for " + array.descr
                                             : "; load<" + cpp + "> reads it"));
    }
    if (must_match_layout && is_foreign(array.type)) {
      throw_dtype(file,
                  holds + ": its byte order is not this machine's, so it cannot be mapped; load<" +
                      cpp + ">(" + named + ", in_memory) reads it");
    }
    return;
  }
  record_comparison<Lazy> const comparison(array, wanted);
  if (!comparison.same()) {
    throw_dtype(file,
                "the file's records differ from the requested ones: " + comparison.differences());
  }
  if (must_match_layout && !comparison.same_places()) {
    throw_dtype(
        file,
        "the file's records are laid out differently from the requested ones and cannot be mapped; "
        "load(file, in_memory) reads them: " +
            comparison.moved());
  }
}

template <class Lazy = void>
[[noreturn]] void throw_unmappable(std::filesystem::path const& file, std::string const& why) {
  throw format_error(
      "forkmap: load " + file.native() + ": " + why + "; load(file, in_memory) reads it", file);
}

template <class Lazy = void>
std::shared_ptr<mapped_file> load_mapped(array_file<Lazy> const& opened, std::string_view name,
                                         element_type const& wanted, std::size_t alignment,
                                         access mode) {
  auto const array = opened.find(name);
  auto const& file = opened.path();
  bool const must_match_layout = true;
  check_elements(file, name, array, wanted, must_match_layout);
  if (array.packed.method != compression::none) {
    throw_unmappable(
        file, "the array is compressed (" + compression_name(array) + ") and cannot be mapped");
  }
  if (!array.writable && mode == access::read_write) {
    throw_unmappable(
        file,
        "an array in an .npz file cannot be mapped read_write: a write would make its checksum "
        "wrong, and NumPy would refuse the file; copy_on_write maps it");
  }
  if (array.offset % alignment != 0) {
    throw_unmappable(file, "the data begins at byte " + std::to_string(array.offset) +
                               ", not on a multiple of " + std::to_string(alignment) +
                               ", and cannot be mapped");
  }
  return map_file(opened.fd(), opened.status(), file, array.dims, array.layout,
                  array.type.item_bytes, mode, array.offset);
}

template <class Lazy = void>
loaded_array read_copy(array_file<Lazy> const& opened, std::string_view name,
                       element_type const& wanted) {
  auto const array = opened.find(name);
  bool const must_match_layout = false;
  check_elements(opened.path(), name, array, wanted, must_match_layout);

  array_reader<Lazy> reader(opened.bytes(), array);
  auto const read = [&reader](std::byte* out, std::size_t bytes) {
    reader.read({reinterpret_cast<char*>(out), bytes});
  };
  element_conversion<Lazy> const conversion(array, wanted);
  auto const count = array.dims.count();
  auto const wanted_bytes = wanted.type.item_bytes;
  if (count > shape::max_count / wanted_bytes) {
    opened.bytes().fail("the header claims dims " + array.dims.text() +
                        ", more than this machine can address");
  }
  auto const item = conversion.file_bytes();
  // A header may claim a record of any size, with or without the bytes in the file.
  constexpr std::size_t largest_record = std::size_t{64} << 20U;
  if (count != 0 && !conversion.copies() && item > largest_record) {
    opened.bytes().fail("records of " + std::to_string(item) +
                        " bytes are too large to convert; the limit is 64 MiB");
  }
  auto const piece = std::max(std::size_t{1}, std::min(count, (std::size_t{1} << 20U) / item));
  bool const converts = !conversion.copies() && count != 0;
  aligned_bytes const buffer(converts ? piece * item : 0);

  // The size of compressed data is not known in advance, and the header's claim is not trusted: the
  // memory is doubled each time it is full.
  auto capacity = std::min(count, std::max(std::size_t{1}, reader.expected_bytes() / item));
  loaded_array result{aligned_bytes(capacity * wanted_bytes), array.dims, array.layout};
  for (std::size_t done = 0; done < count;) {
    if (done == capacity) {
      auto const larger = std::min(count, 2 * capacity);
      aligned_bytes memory(larger * wanted_bytes);
      std::memcpy(memory.get(), result.memory.get(), done * wanted_bytes);
      result.memory = std::move(memory);
      capacity = larger;
    }
    auto* const out = result.memory.get() + done * wanted_bytes;
    auto const n = std::min(capacity - done, converts ? piece : capacity);
    if (converts) {
      read(buffer.get(), n * item);
      conversion.apply(buffer.get(), out, n);
    } else {
      read(out, n * item);
    }
    done += n;
  }
  reader.finish();
  return result;
}

template <class Lazy = void>
loaded_array load_copy(array_file<Lazy> const& opened, std::string_view name,
                       element_type const& wanted) {
  try {
    return read_copy(opened, name, wanted);
  } catch (missing_library const& error) {
    opened.bytes().fail(std::string("it cannot be read: ") + error.what());
  }
}

template <class T, mapping_mode Mode>
auto load_from(array_file<> const& opened, std::string_view name, Mode mode) {
  using element = std::remove_const_t<T>;
  using mapped = std::conditional_t<std::same_as<Mode, read_only_t>, element const, T>;
  static_assert(check_element<element>());
  return memmap_access::make<mapped>(
      load_mapped(opened, name, describe_element<element>(), alignof(element), access_of(mode)));
}

template <class T>
auto load_from(array_file<> const& opened, std::string_view name, in_memory_t /*mode*/) {
  using element = std::remove_const_t<T>;
  static_assert(check_element<element>());
  return owned_array<element>(load_copy(opened, name, describe_element<element>()));
}

template <class Mode>
concept loading_mode = mapping_mode<Mode> || std::same_as<Mode, in_memory_t>;

}  // namespace detail

/// Loads an array from a file: maps it, or for in_memory reads a copy.
///
/// The format is recognized by the file's content, not by its name: NumPy's .npy (versions 1.0 to
/// 3.0) and .npz, and joblib's; for in_memory also these compressed by gzip, zlib, bzip2, xz, lzma
/// or lz4. `name` selects an array in a file of several (.npz, joblib). It may be left out if the
/// file has only one array.
///
/// T is bool, an integer, a floating-point or complex number, half, fixed_string, std::byte, or a
/// record: an aggregate of these and of std::array (NumPy's structured dtype). Members are matched
/// to fields by field_names or by position. A bool in a mapped file must be 0 or 1, as NumPy writes
/// it.
/// Returns: memmap<T const> for read_only, the default; memmap<T> for read_write and copy_on_write;
///   owned_array<T> for in_memory.
/// Errors: dtype_error if the file's elements are not of type T, for records field by field. For a
///   mapping also if their byte order or the places of their fields differ; in_memory converts
///   these. format_error if the file is malformed, truncated, not a regular file, or holds no such
///   array. For a mapping also if the array is compressed or not aligned (dump() aligns arrays in
///   .npz files, NumPy does not), and for read_write if it is in an .npz file, whose checksum a
///   write would make wrong. std::system_error naming the file.
/// Cost: one open, one read of the header and one mapping, whatever the size. No descriptor is
///   kept. in_memory reads the whole array and verifies its checksum if there is one; a mapping
///   does not. The directory of an .npz file is read each time; an archive reads it once.
/// Forking: all workers share the mapping; see memmap.
/// Example: `auto const data = load<double>("data.npy"); double const first = data(0, 0);`
template <class T = detail::unnamed, detail::loading_mode Mode>
auto load(std::filesystem::path const& file, std::string_view name, Mode mode) {
  constexpr bool named = !std::same_as<T, detail::unnamed>;
  static_assert(named,
                "forkmap: load<T>(file): say which elements are expected, as in "
                "load<double>(file); inspect(file).dtype is the type in the file");
  if constexpr (named) {
    bool const writable = std::same_as<Mode, read_write_t>;
    return detail::load_from<T>(detail::array_file<>(file, writable), name, mode);
  }
}

/// The same for the only array of a file.
template <class T = detail::unnamed, detail::loading_mode Mode>
auto load(std::filesystem::path const& file, Mode mode) {
  return load<T>(file, std::string_view{}, mode);
}

/// The same for the only array of a file, read_only.
template <class T = detail::unnamed> auto load(std::filesystem::path const& file) {
  return load<T>(file, read_only);
}

/// The same, read_only.
template <class T = detail::unnamed>
auto load(std::filesystem::path const& file, std::string_view name) {
  return load<T>(file, name, read_only);
}

}  // namespace forkmap
