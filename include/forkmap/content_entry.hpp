// Entry of the list that contents() returns.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <string>

#include <forkmap/shape.hpp>

namespace forkmap {

/// An array or another value in a file: an element of the list that contents() returns.
struct content_entry {
  std::string name;  // for load() and load_value(); empty for the only entry of a file
  std::string type;  // an array's dtype, "<f8"; else Python's type: "int", "list of str", "None"
  shape dims{};      // an array's extents; a list's number of items; no axes for a number
  bool is_array = true;  // true: load<T>() reads it; false: load_value<T>() reads it
};

}  // namespace forkmap
