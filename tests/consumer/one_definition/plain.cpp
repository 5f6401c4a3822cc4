// SPDX-License-Identifier: MIT
#include "part.hpp"

sizes sizes_of_plain() { return part::sizes_of(); }
void write_by_plain(std::filesystem::path const& file) { part::write(file); }
std::vector<double> read_by_plain(std::filesystem::path const& file) { return part::read(file); }
std::string crash_by_plain() { return part::crash(); }
int sum_by_plain() { return part::sum_of_calls(); }
