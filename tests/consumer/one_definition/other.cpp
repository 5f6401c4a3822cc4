// SPDX-License-Identifier: MIT
#include "part.hpp"

sizes sizes_of_other() { return part::sizes_of(); }
void write_by_other(std::filesystem::path const& file) { part::write(file); }
std::vector<double> read_by_other(std::filesystem::path const& file) { return part::read(file); }
std::string crash_by_other() { return part::crash(); }
int sum_by_other() { return part::sum_of_calls(); }
