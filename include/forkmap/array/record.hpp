// What a record (NumPy's structured dtype) consists of, in a file or in C++.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <forkmap/array/dtype.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

/// One field of a record. A nested record has kind 'V' and fields of its own.
struct record_field {
  std::string name;              // UTF-8
  std::size_t offset = 0;        // from the record's first byte
  dtype type;                    // of one element
  shape dims = shape::scalar();  // of a sub-array; scalar: none
  std::vector<record_field> fields{};

  /// Of all its elements.
  std::size_t bytes() const { return dims.count() * type.item_bytes; }

  friend bool operator==(record_field const&, record_field const&) = default;
};

/// The type of an array's elements. `fields` only of a record, whose type has kind 'V'.
struct element_type {
  dtype type{};
  std::vector<record_field> fields{};  // in the order of their offsets
};

}  // namespace forkmap::detail
