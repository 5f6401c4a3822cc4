// What is to be written: an array as a format sees it, and where the format puts its bytes. No I/O.
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/array/dtype.hpp>
#include <forkmap/array/record.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

/// Where the bytes of a file go, one after another. Whoever owns the file implements it.
class byte_sink {
 public:
  byte_sink() = default;
  byte_sink(byte_sink const&) = delete;
  byte_sink& operator=(byte_sink const&) = delete;

  /// Says how many bytes will come in all, so that lack of space is an error now.
  virtual void reserve(std::size_t bytes) = 0;
  virtual void write(std::string_view bytes) = 0;
  /// Writes over bytes that have been written.
  virtual void rewrite(std::size_t at, std::string_view bytes) = 0;
  /// How many bytes have been written.
  virtual std::size_t position() const = 0;

 protected:
  ~byte_sink() = default;
};

/// One array to be written: what it is, and its elements as they lie in memory.
struct array_description {
  dtype type{};
  std::vector<record_field> fields{};  // of a record
  shape dims{};
  order layout = order::c;
  std::size_t bytes = 0;  // of all elements
};

class array_content : public array_description {
 public:
  explicit array_content(array_description description)
      : array_description(std::move(description)) {}
  array_content(array_content const&) = delete;
  array_content& operator=(array_content const&) = delete;

  /// Writes all elements: exactly `bytes`, or throws.
  virtual void write(byte_sink& out) const = 0;

 protected:
  ~array_content() = default;
};

}  // namespace forkmap::detail
