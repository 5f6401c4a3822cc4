// What each of the two files does.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

/// Sizes of types that have been different from one file to the next.
struct sizes {
  std::size_t sums;
  std::size_t decompressor;
  std::size_t backtrace;
  bool operator==(sizes const&) const = default;
};

// plain.cpp
sizes sizes_of_plain();
void write_by_plain(std::filesystem::path const& file);
std::vector<double> read_by_plain(std::filesystem::path const& file);
std::string crash_by_plain();
int sum_by_plain();

// other.cpp
sizes sizes_of_other();
void write_by_other(std::filesystem::path const& file);
std::vector<double> read_by_other(std::filesystem::path const& file);
std::string crash_by_other();
int sum_by_other();
