// Python with NumPy and joblib, which reads and writes the same files as forkmap.
// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "run_program.hpp"

namespace support {

/// The first of two interpreters that has NumPy and joblib. Debian's packages are for
/// /usr/bin/python3, so it is tried before the one in PATH.
inline std::string const& python() {
  static std::string const found = [] {
    for (std::string const name : {"/usr/bin/python3", "python3"}) {
      if (run_program({name, "-c", "import numpy, joblib"}).success()) return name;
    }
    return std::string();
  }();
  return found;
}

/// Runs a script of tests/format/python. If it fails, the test fails and shows its output.
/// Returns: its standard output.
inline std::string run_python(std::string const& script, std::vector<std::string> arguments) {
  INFO("needs python3 with numpy and joblib (Debian: python3-numpy python3-joblib)");
  REQUIRE_FALSE(python().empty());
  auto const file = std::filesystem::path(FORKMAP_TEST_DIR) / "format/python" / script;
  // -B: write no .pyc files into the source tree.
  std::vector<std::string> command{python(), "-B", file.native()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  auto const result = run_program(std::move(command), std::chrono::seconds(110));
  INFO(result.out << result.err);
  REQUIRE(result.success());
  return result.out;
}

}  // namespace support
