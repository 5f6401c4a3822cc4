// Array files, whatever their format: the border between arrays and file formats. See engine/run.hpp.
// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/shape.hpp>

#ifndef FORKMAP_COMPILED
#include <forkmap/detail/mapped/all_formats.hpp>
#endif

namespace forkmap::detail {

#ifdef FORKMAP_COMPILED

/// Lists the arrays of a file. The format is detected by the file's bytes, not by its name.
template <class Lazy = void> owner<array_directory> read_directory(byte_source const& source);
/// The format to write to a file of this name: .npy unless the extension is that of another format.
template <class Lazy = void> array_format const& format_for_name(std::filesystem::path const& file);
/// The bytes before the elements of a new file that is mapped: the head of a .npy file, or nothing.
/// Errors: std::invalid_argument for a name of another format.
template <class Lazy = void>
std::string head_of_new_file(std::filesystem::path const& file, element_type const& element,
                             shape const& dims, order layout);

extern template owner<array_directory> read_directory<>(byte_source const& source);
extern template array_format const& format_for_name<>(std::filesystem::path const& file);
extern template std::string head_of_new_file<>(std::filesystem::path const& file,
                                               element_type const& element, shape const& dims,
                                               order layout);

#endif

/// Finds one array; by `name` in a file with several arrays.
template <class Lazy = void>
stored_array locate_array(byte_source const& source, std::string_view name = {}) {
  return read_directory(source)->find(source, name);
}

}  // namespace forkmap::detail
