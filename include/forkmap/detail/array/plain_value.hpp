// Values in a file other than arrays, as its reader passes them on.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace forkmap::detail {

/// A number, a text or a list. The items of a list are passed separately, one by one. Valid only
/// while the viewer's function runs.
struct plain_value {
  /// other: an array, a dict, or a value for which C++ has no type.
  enum class kind { none, boolean, integer, natural, real, text, list, other };

  kind what = kind::other;
  bool boolean = false;
  std::int64_t integer = 0;
  std::uint64_t natural = 0;  // an integer that is too large for `integer`
  double real = 0;
  std::string_view text{};  // or bytes
  std::size_t items = 0;    // of a list
  std::string described{};  // "an int", "a list of 3 str"; empty for an item
};

/// Receives the value that array_directory::show() found.
class value_viewer {
 public:
  value_viewer() = default;
  value_viewer(value_viewer const&) = delete;
  value_viewer& operator=(value_viewer const&) = delete;

  /// Called once, with the value.
  virtual void whole(plain_value const& value) = 0;
  /// Called for each item if the value is a list, after whole().
  virtual void item(plain_value const& value) = 0;

 protected:
  ~value_viewer() = default;
};

}  // namespace forkmap::detail
