// What stands in a file beside arrays: numbers, texts, lists of them; and a list of everything.
#pragma once

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

#include <forkmap/array/format.hpp>
#include <forkmap/array/literal.hpp>
#include <forkmap/array/plain_value.hpp>
#include <forkmap/array_error.hpp>
#include <forkmap/content_entry.hpp>
#include <forkmap/inspect.hpp>

namespace forkmap {

namespace detail {

/// False if a value is no such thing, or out of range.
template <class = void> bool read_plain(plain_value const& value, bool& out) {
  out = value.boolean;
  return value.what == plain_value::kind::boolean;
}

template <class = void> bool read_plain(plain_value const& value, std::string& out) {
  out = value.text;
  return value.what == plain_value::kind::text;
}

template <std::integral N>
requires(!std::same_as<N, bool>) bool read_plain(plain_value const& value, N& out) {
  if (value.what == plain_value::kind::natural) {
    out = static_cast<N>(value.natural);
    return std::in_range<N>(value.natural);
  }
  out = static_cast<N>(value.integer);
  return value.what == plain_value::kind::integer && std::in_range<N>(value.integer);
}

/// A Python int will do if the number stays the same, a float if it stays finite.
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
concept plain_scalar = std::same_as<T, bool> || std::same_as<T, std::string> ||
    std::floating_point<T> ||
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

/// A value and its kind, as an error says it.
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

/// What is asked for: one T, or a list of them.
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
    std::string what = "forkmap: load_value " + file_->native() + ": ";
    what += name_.empty() && where.empty() ? "the file" : in_quotes(std::string(name_) + where);
    what += " holds ";
    bool const scalar = value.what != plain_value::kind::list &&
                        value.what != plain_value::kind::other &&
                        value.what != plain_value::kind::none;
    if (scalar && !value.described.empty()) what += value.described + ", ";
    what += shown(value) + ", which is no " + wanted;
    throw dtype_error(what, *file_);
  }

  [[noreturn]] void fail_too_long() const {
    throw format_error("forkmap: load_value " + file_->native() + ": " +
                           (name_.empty() ? std::string("the file") : in_quotes(name_)) +
                           " holds texts of more than 1 GiB in all; load one by its index",
                       *file_);
  }

  std::filesystem::path const* file_;
  std::string_view name_;
};

/// All texts of a list, at most: a file names a long one many times with a few bytes.
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

/// Reads a number, a text, or a list of these, that stands in a joblib file beside arrays.
///
/// `name` is its own, as of an array: "scale", "classes[0]", "model.params['C']"; empty for a file
/// that holds nothing else. T is bool, an integer, a floating-point number, std::string (of bytes,
/// too), or a std::vector of one of these (a list, a tuple, a set). NumPy's scalars are these, too.
/// Errors: dtype_error naming both for a value of another kind or out of T's range; a Python int is
///   a floating-point number if that is exact, a float is rounded to float. format_error if nothing
///   is called that, a list's texts have more than 1 GiB in all, or the file is malformed;
///   std::system_error naming the file.
/// Cost: what stands beside the arrays is read, no data of an array is.
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

/// Lists what a file holds, in its order: arrays, and what stands beside them in a joblib file.
///
/// Lists of nothing but numbers, or but texts, are one entry; of other containers every item is.
/// Arrays of Python objects in an .npz are listed, as "|O", though nothing reads them.
/// Errors: as of inspect().
/// Cost: as of load_value().
/// Example: `for (auto const& entry : contents("model.joblib")) std::puts(entry.name.c_str());`
template <class = void> std::vector<content_entry> contents(std::filesystem::path const& file) {
  detail::array_file<> const opened(file, false);
  return opened.directory().entries(opened.bytes());
}

}  // namespace forkmap
