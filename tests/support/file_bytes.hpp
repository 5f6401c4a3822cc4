// Whole files as strings of bytes.
// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace support {

inline std::string file_bytes(std::filesystem::path const& file) {
  std::ifstream in(file, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

inline std::filesystem::path write_bytes(std::filesystem::path const& file,
                                         std::string_view bytes) {
  std::ofstream(file, std::ios::binary).write(bytes.data(), std::ssize(bytes));
  return file;
}

/// The same, but first makes the folders of its path.
inline std::filesystem::path write_deep(std::filesystem::path const& file, std::string_view bytes) {
  std::filesystem::create_directories(file.parent_path());
  return write_bytes(file, bytes);
}

}  // namespace support
