// Each file reads what the other one has written, and sees a crash of its own.
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "parts.hpp"

int main() {
  if (sizes_of_plain() != sizes_of_other()) return 1;

  auto const file = std::filesystem::temp_directory_path() /
                    ("forkmap-one-definition-" + std::to_string(::getpid()) + ".pkl");
  std::vector const expected(1000, 0.5);
  write_by_plain(file);
  bool same = read_by_other(file) == expected;
  write_by_other(file);
  same = same && read_by_plain(file) == expected;
  std::filesystem::remove(file);
  if (!same) return 2;

  if (sum_by_plain() != 40 || sum_by_other() != 40) return 5;
  if (crash_by_plain().empty() || crash_by_other().empty()) return 3;
  if (forkmap::parallel(2).map([](int i) { return i; }, std::vector{1, 2}).size() != 2) return 4;
  std::puts("consumer: forkmap is the same in files that are compiled differently");
}
