// What is to be written: arrays and what stands beside them, as a format sees it, and where the
// format puts its bytes. No I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/array/dtype.hpp>
#include <forkmap/array/packing.hpp>
#include <forkmap/array/record.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

class array_content;

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
  /// Writes all elements of an array. A sink that only counts need not ask for them.
  virtual void write_array(array_content const& content);

 protected:
  ~byte_sink() = default;
};

/// One array to be written: what it is, and its elements as they lie in memory.
struct array_description : element_type {
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

inline void byte_sink::write_array(array_content const& content) { content.write(*this); }

/// What a format cannot hold; says which can. dump() adds the file's name.
class unwritable_content : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// What a file is to hold: one array, or what joblib would pickle beside arrays.
struct content_value {
  enum class kind { none, boolean, integer, natural, real, text, array, list, tuple, dict };

  kind what = kind::none;
  bool boolean = false;
  std::int64_t integer = 0;
  std::uint64_t natural = 0;  // an integer that is too large for the one above
  double real = 0;
  std::string text{};                    // UTF-8
  array_content const* array = nullptr;  // outlives this
  std::vector<content_value> items{};    // of a list, a tuple, a dict
  std::vector<std::string> keys{};       // of a dict: one per item, no two alike
};

}  // namespace forkmap::detail
