// Every format there is: by the bytes a file begins with when reading, by its name when writing.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <forkmap/array/format.hpp>
#include <forkmap/array/joblib.hpp>
#include <forkmap/array/literal.hpp>
#include <forkmap/array/npy.hpp>
#include <forkmap/array/npz_writer.hpp>
#include <forkmap/array/packed_directory.hpp>
#include <forkmap/array/packing.hpp>
#include <forkmap/array/unpacked_source.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap::detail {

template <class Lazy = void>
inline constexpr array_format const* array_formats[] = {&npy_format<Lazy>, &npz_format<Lazy>,
                                                        &joblib_format<Lazy>};

/// What a file is that no format here reads; empty if that is not known either.
template <class Lazy = void> std::string_view foreign_format(std::string_view first) {
  struct signature {
    std::string_view magic;
    std::string_view name;
  };
  using namespace std::string_view_literals;
  constexpr signature known[] = {
      {"ZF"sv, "a compressed file of joblib 0.9 or older"},
      {"\x89HDF"sv, "an HDF5 file"},
  };
  for (auto const& [magic, name] : known) {
    if (first.starts_with(magic)) return name;
  }
  return {};
}

/// Null if the file begins as none of them does.
template <class Lazy = void> array_format const* format_that_begins(std::string_view first) {
  for (auto const* format : array_formats<Lazy>) {
    if (format->begins(first)) return format;
  }
  return nullptr;
}

template <class Lazy = void>
[[noreturn]] void fail_foreign(byte_source const& source, std::string_view first,
                               std::string_view subject) {
  std::string const begin(subject);
  if (first.empty()) source.fail(begin + " is empty, not an array");
  if (auto const what = foreign_format(first); !what.empty()) {
    source.fail(begin + " is " + std::string(what) + "; .npy, .npz and joblib 0.10 and later are read");
  }
  source.fail("not an array file: " + begin + " begins with " + in_quotes(first.substr(0, 8)) +
              ", an .npy file with '\\x93NUMPY'");
}

/// Finds out which arrays a file holds by its bytes, never by its name.
template <class Lazy = void> owner<array_directory> read_directory(byte_source const& source) {
  if (auto const* format = format_that_begins(source.first())) return format->read(source);
  auto const method = packing_that_begins(source.first());
  if (method == packing::none) fail_foreign(source, source.first(), "the file");
  unpacked_source<Lazy> const inside(source, whole_file(method, source));
  auto const* format = format_that_begins(inside.first());
  if (format == nullptr) fail_foreign(source, inside.first(), "what the file unpacks to");
  return owner<array_directory>(new packed_directory<Lazy>(method, format->read(inside)));
}

/// Finds one array. `name` is its own, in a file of several.
template <class Lazy = void>
stored_array locate_array(byte_source const& source, std::string_view name = {}) {
  return read_directory(source)->find(source, name);
}

/// The format to write under this name: .npy content, unless the name promises something else.
template <class Lazy = void>
array_format const& format_for_name(std::filesystem::path const& file) {
  auto const extension = file.extension();
  if (extension == ".npz") return npz_format<Lazy>;
  if (extension == ".joblib" || extension == ".pkl") return joblib_format<Lazy>;
  return npy_format<Lazy>;
}

}  // namespace forkmap::detail
