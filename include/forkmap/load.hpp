// A file's array, mapped or copied.
#pragma once

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
#include <forkmap/array/array_reader.hpp>
#include <forkmap/array/conversion.hpp>
#include <forkmap/array/element.hpp>
#include <forkmap/array/packing.hpp>
#include <forkmap/array/record.hpp>
#include <forkmap/array_error.hpp>
#include <forkmap/inspect.hpp>
#include <forkmap/mapped_file.hpp>
#include <forkmap/memmap.hpp>
#include <forkmap/owned_array.hpp>
#include <forkmap/system/library.hpp>

namespace forkmap {
namespace detail {

template <class Lazy = void>
[[noreturn]] void throw_dtype(std::filesystem::path const& file, std::string const& what) {
  throw dtype_error("forkmap: load " + file.native() + ": " + what, file);
}

/// Refuses a file whose elements are others than those asked for, saying how they differ.
/// `name`: the array's, in a file of several.
template <class Lazy = void>
void check_elements(std::filesystem::path const& file, std::string_view name,
                    stored_array const& array, element_type const& wanted, bool must_lie_the_same) {
  auto const what = [](element_type const& element) {
    return element.fields.empty()
               ? spelling_and_name(element.type)
               : "records of " + std::to_string(element.fields.size()) + " fields";
  };
  auto const holds = (name.empty() ? "the file holds " : in_quotes(name) + " holds ") +
                     what(array) + ", not " + what(wanted);
  auto const named = name.empty() ? std::string("file") : "file, " + in_quotes(name);
  if (array.fields.empty() != wanted.fields.empty()) {
    throw_dtype(file, holds + (array.fields.empty() ? "" : ": " + array.descr));
  }
  if (array.fields.empty()) {
    auto const cpp = cpp_name(array.type);
    if (!same_scalar(array.type, wanted.type)) {
      throw_dtype(file, holds + (cpp.empty() ? "; there is no type for " + array.descr + " here"
                                             : "; load<" + cpp + "> reads it"));
    }
    if (must_lie_the_same && is_foreign(array.type)) {
      throw_dtype(file, holds + ": another byte order, which cannot be mapped; load<" + cpp + ">(" +
                            named + ", in_memory) reads it");
    }
    return;
  }
  record_comparison<Lazy> const comparison(array, wanted);
  if (!comparison.same()) {
    throw_dtype(file,
                "the file's records are others than those asked for: " + comparison.differences());
  }
  if (must_lie_the_same && !comparison.same_places()) {
    throw_dtype(file,
                "the file's records lie otherwise than those asked for, and cannot be mapped; "
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
  bool const must_lie_the_same = true;
  check_elements(file, name, array, wanted, must_lie_the_same);
  if (array.packed.method != packing::none) {
    throw_unmappable(file,
                     "the array is compressed (" + packing_name(array) + ") and cannot be mapped");
  }
  if (!array.writable && mode == access::read_write) {
    throw_unmappable(file,
                     "an array in an .npz file cannot be written through: the checksum beside it "
                     "would be wrong, and NumPy would refuse the file; copy_on_write maps it");
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
  bool const must_lie_the_same = false;
  check_elements(opened.path(), name, array, wanted, must_lie_the_same);

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
  // A record may be padded to any size, and its bytes need not come.
  constexpr std::size_t largest_record = std::size_t{64} << 20U;
  if (count != 0 && !conversion.copies() && item > largest_record) {
    opened.bytes().fail("records of " + std::to_string(item) + " bytes are not taken apart");
  }
  auto const piece = std::max(std::size_t{1}, std::min(count, (std::size_t{1} << 20U) / item));
  bool const apart = !conversion.copies() && count != 0;
  aligned_bytes const buffer(apart ? piece * item : 0);

  // Of what is unpacked nobody knows whether it will come: twice the memory when it has.
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
    auto const n = std::min(capacity - done, apart ? piece : capacity);
    if (apart) {
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

/// Opens an array file as it lies: mapped, nothing is read before it is used.
///
/// The format is told by the file's bytes, never by its name: .npy of NumPy, versions 1.0 to 3.0,
/// .npz; and for in_memory these compressed by gzip, zlib, bzip2, xz, lzma or lz4.
/// `name` is that of an array in a file of several (.npz, joblib); an .npy file has one, without.
/// It may be left out where there is only one.
/// Returns: memmap<T const>, for read_write and copy_on_write memmap<T>, for in_memory
///   owned_array<T>. A bool of a mapped file must be 0 or 1, as NumPy writes it.
///   T is bool, an integer, a floating-point or complex number, half, fixed_string, std::byte, or an
///   aggregate of these and of std::array: a record (NumPy's structured dtype), whose members are
///   told by field_names or by their positions.
/// Errors: dtype_error if the file holds other elements than T, field by field for records, or (but
///   for in_memory, which puts them right) in another byte order or at other places; format_error if it is malformed, truncated, no regular file or no array;
///   or cannot be mapped, because it is compressed or does not lie aligned (NumPy's own .npz does
///   not, dump's does), or, for read_write, because it lies in an .npz file, whose checksums would
///   become wrong; std::system_error naming the file.
/// Cost: one open, one read of the header, one mapping, whatever the size; no descriptor is kept.
///   in_memory reads all of it, and compares the checksum where there is one, which mapping does not.
///   An .npz file's directory is read each time: an archive reads it once.
/// Forking: every worker shares the mapping; see memmap.
/// Example: `auto const data = load<double>("data.npy"); double const first = data(0, 0);`
template <class T = detail::unnamed, detail::loading_mode Mode>
auto load(std::filesystem::path const& file, std::string_view name, Mode mode) {
  constexpr bool named = !std::same_as<T, detail::unnamed>;
  static_assert(named,
                "forkmap: load<T>(file): say which elements are expected, as in "
                "load<double>(file); inspect(file).dtype tells which a file holds");
  if constexpr (named) {
    bool const writable = std::same_as<Mode, read_write_t>;
    return detail::load_from<T>(detail::array_file<>(file, writable), name, mode);
  }
}

template <class T = detail::unnamed, detail::loading_mode Mode>
auto load(std::filesystem::path const& file, Mode mode) {
  return load<T>(file, std::string_view{}, mode);
}

template <class T = detail::unnamed> auto load(std::filesystem::path const& file) {
  return load<T>(file, read_only);
}

template <class T = detail::unnamed>
auto load(std::filesystem::path const& file, std::string_view name) {
  return load<T>(file, name, read_only);
}

}  // namespace forkmap
