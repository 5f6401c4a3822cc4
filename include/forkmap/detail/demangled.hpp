// Demangled names of types and functions.
// SPDX-License-Identifier: MIT
#pragma once

#include <cxxabi.h>

#include <cstdlib>
#include <string>

namespace forkmap::detail {

/// The demangled form of a mangled C++ name; any other name unchanged.
inline std::string demangled(char const* name) {
  int status = 0;
  char* const text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string demangled = status == 0 ? text : name;
  std::free(text);
  return demangled;
}

}  // namespace forkmap::detail
