// What may stand in a file beside arrays, as who reads it sees it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace forkmap::detail {

/// A number, a text, or a list, whose items are shown one by one. Valid while it is shown.
struct plain_value {
  /// other: an array, a dict, or what C++ has no type for.
  enum class kind { none, boolean, integer, natural, real, text, list, other };

  kind what = kind::other;
  bool boolean = false;
  std::int64_t integer = 0;
  std::uint64_t natural = 0;  // an integer that is too large for the one above
  double real = 0;
  std::string_view text{};  // or bytes
  std::size_t items = 0;    // of a list
  std::string described{};  // "an int", "a list of 3 str"; only of the whole
};

class value_viewer {
 public:
  value_viewer() = default;
  value_viewer(value_viewer const&) = delete;
  value_viewer& operator=(value_viewer const&) = delete;

  virtual void whole(plain_value const& value) = 0;
  /// Each item of a list, after the whole.
  virtual void item(plain_value const& value) = 0;

 protected:
  ~value_viewer() = default;
};

}  // namespace forkmap::detail
