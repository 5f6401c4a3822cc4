// What a record (NumPy's structured dtype) consists of, as a file tells it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <forkmap/array/dtype.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

/// One field of a record. A nested record has kind 'V' and fields of its own.
struct record_field {
  std::string name;
  std::size_t offset = 0;        // from the record's first byte
  dtype type;                    // of one element
  shape dims = shape::scalar();  // of a sub-array; scalar: none
  std::vector<record_field> fields{};

  friend bool operator==(record_field const&, record_field const&) = default;
};

}  // namespace forkmap::detail
