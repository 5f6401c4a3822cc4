// Functions that load numbers and strings from a joblib file, and list the contents of a file.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <forkmap/content_entry.hpp>
#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/array/plain_value.hpp>
#include <forkmap/error.hpp>
#include <forkmap/inspect.hpp>

namespace forkmap {

namespace detail {

/// Converts a value. Returns: false if it is of another kind or out of range.
template <class = void> bool read_plain(plain_value const& value, bool& out) {
  out = value.boolean;
  return value.what == plain_value::kind::boolean;
}

template <class = void> bool read_plain(plain_value const& value, std::string& out) {
  out = value.text;
  return value.what == plain_value::kind::text;
}

template <std::integral N>
  requires(!std::same_as<N, bool>)
bool read_plain(plain_value const& value, N& out) {
  if (value.what == plain_value::kind::natural) {
    out = static_cast<N>(value.natural);
    return std::in_range<N>(value.natural);
  }
  out = static_cast<N>(value.integer);
  return value.what == plain_value::kind::integer && std::in_range<N>(value.integer);
}

/// Accepts a Python int that the type represents exactly, and a float that stays finite.
template <std::floating_point N> bool read_plain(plain_value const& value, N& out) {
  switch (value.what) {
    case plain_value::kind::real:
      out = static_cast<N>(value.real);
      return std::isfinite(out) || !std::isfinite(value.real);
    case plain_value::kind::integer:
      out = static_cast<N>(value.integer);
      return out < N{0x1p63} && static_cast<std::int64_t>(out) == value.integer;
    case plain_value::kind::natural:
      out = static_cast<N>(value.natural);
      return out < N{0x1p64} && static_cast<std::uint64_t>(out) == value.natural;
    default:
      return false;
  }
}

template <class T>
concept plain_scalar =
    std::same_as<T, bool> || std::same_as<T, std::string> || std::floating_point<T> ||
    (std::integral<T> && !std::same_as<T, char> && !std::same_as<T, wchar_t> &&
     !std::same_as<T, char8_t> && !std::same_as<T, char16_t> && !std::same_as<T, char32_t>);

template <plain_scalar T> std::string plain_name() {
  if constexpr (std::same_as<T, bool>) {
    return "bool";
  } else if constexpr (std::same_as<T, std::string>) {
    return "std::string";
  } else {
    return std::string(cpp_name(dtype_of<T>()));
  }
}

/// A value as text for an error message.
template <class = void> std::string shown(plain_value const& value) {
  switch (value.what) {
    case plain_value::kind::none:
      return "None";
    case plain_value::kind::boolean:
      return value.boolean ? "True" : "False";
    case plain_value::kind::integer:
      return std::to_string(value.integer);
    case plain_value::kind::natural:
      return std::to_string(value.natural);
    case plain_value::kind::real:
      return std::to_string(value.real);
    case plain_value::kind::text:
      return in_quotes(value.text);
    default:
      return value.described.empty() ? "a container" : value.described;
  }
}

/// Reads one T, or a list of T.
template <class T> class plain_reader final : public value_viewer {
 public:
  plain_reader(std::filesystem::path const& file, std::string_view name)
      : file_(&file), name_(name) {}

  void whole(plain_value const& value) override {
    if (!read_plain(value, result)) fail(value, {}, plain_name<T>());
  }
  void item(plain_value const& /*value*/) override {}

  T result{};

 private:
  template <class> friend class plain_reader;

  [[noreturn]] void fail(plain_value const& value, std::string const& where,
                         std::string const& wanted) const {
    std::string message = "forkmap: load_value " + file_->native() + ": ";
    message += name_.empty() && where.empty() ? "the file" : in_quotes(std::string(name_) + where);
    message += " holds ";
    bool const scalar = value.what != plain_value::kind::list &&
                        value.what != plain_value::kind::other &&
                        value.what != plain_value::kind::none;
    if (scalar && !value.described.empty()) message += value.described + ", ";
    message += shown(value) + ", which is not a " + wanted;
    throw dtype_error(message, *file_);
  }

  [[noreturn]] void fail_too_long() const {
    throw format_error("forkmap: load_value " + file_->native() + ": " +
                           (name_.empty() ? std::string("the file") : in_quotes(name_)) +
                           " holds more than 1 GiB of strings; load one by its index",
                       *file_);
  }

  std::filesystem::path const* file_;
  std::string_view name_;
};

/// The limit on the strings of a list: with a few bytes a file can repeat a long string many times.
inline constexpr std::size_t most_text_bytes = std::size_t{1} << 30U;

template <class T> class plain_reader<std::vector<T>> final : public value_viewer {
 public:
  plain_reader(std::filesystem::path const& file, std::string_view name,
               std::size_t most_bytes = most_text_bytes)
      : one_(file, name), room_(most_bytes) {}

  void whole(plain_value const& value) override {
    if (value.what != plain_value::kind::list) {
      one_.fail(value, {}, "list of " + plain_name<T>());
    }
    result.reserve(value.items);
  }
  void item(plain_value const& value) override {
    if constexpr (std::same_as<T, std::string>) {
      if (value.text.size() > room_) one_.fail_too_long();
      room_ -= value.text.size();
    }
    T element{};
    if (!read_plain(value, element)) {
      one_.fail(value, "[" + std::to_string(result.size()) + "]", plain_name<T>());
    }
    result.push_back(std::move(element));
  }

  std::vector<T> result{};

 private:
  plain_reader<T> one_;
  std::size_t room_;
};

template <class T> inline constexpr bool is_plain = plain_scalar<T>;
template <class T> inline constexpr bool is_plain<std::vector<T>> = plain_scalar<T>;

}  // namespace detail

/// Loads a number, a string, or a list of these from a joblib file.
///
/// `name` selects the value: "scale", "classes[0]", "model.params['C']"; it is empty for a file
/// that holds nothing else. T is bool, an integer, a floating-point number, std::string (Python's
/// str or bytes), or a std::vector of one of these (Python's list, tuple or set). NumPy scalars are
/// read as numbers, too.
/// Returns: the value. A floating-point T accepts a Python int that it represents exactly. A Python
///   float is rounded if T is float.
/// Errors: dtype_error naming the value and T if the value is of another kind or out of T's range.
///   format_error if there is no value of that name, if the strings of a list have more than 1 GiB,
///   or if the file is malformed. std::system_error naming the file.
/// Cost: all values but the data of arrays are read.
/// Example: `auto const classes = load_value<std::vector<std::string>>("model.joblib", "classes");`
template <class T = detail::unnamed>
T load_value(std::filesystem::path const& file, std::string_view name = {}) {
  static_assert(detail::is_plain<T>,
                "forkmap: load_value<T>: T is bool, an integer, a floating-point number, "
                "std::string, or a std::vector of these; load<T>() reads arrays");
  if constexpr (detail::is_plain<T>) {
    detail::array_file<> const opened(file, false);
    detail::plain_reader<T> reader(opened.path(), name);
    opened.directory().show(opened.bytes(), name, reader);
    return std::move(reader.result);
  }
}

/// Lists the contents of a file, in the file's order: arrays, and other values of a joblib file.
///
/// A list of numbers only, or of strings only, is one entry. Every item of another container is an
/// entry. An array of Python objects in an .npz file is listed with type "|O", but cannot be
/// loaded.
/// Returns: a std::vector<content_entry>.
/// Errors: as inspect().
/// Cost: as load_value().
/// Example: `for (auto const& entry : contents("model.joblib")) std::puts(entry.name.c_str());`
template <class = void> std::vector<content_entry> contents(std::filesystem::path const& file) {
  detail::array_file<> const opened(file, false);
  return opened.directory().entries(opened.bytes());
}

}  // namespace forkmap
