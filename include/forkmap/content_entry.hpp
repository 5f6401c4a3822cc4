// What contents() tells of each thing in a file.
#pragma once

#include <string>

#include <forkmap/shape.hpp>

namespace forkmap {

struct content_entry {
  std::string name;      // for load() and load_value(); empty for the only thing in the file
  std::string type;      // of an array its dtype: "<f8"; else Python's: "int", "list of str", "None"
  shape dims{};          // of an array; how many items a list has; of a number none
  bool is_array = true;  // load<T>() reads it, load_value<T>() what is none
};

}  // namespace forkmap
