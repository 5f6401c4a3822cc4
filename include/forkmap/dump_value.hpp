// Functions that write lists, tuples, dicts, numbers, strings and arrays in them to a joblib file.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/lazily.hpp>
#include <forkmap/dump.hpp>

namespace forkmap {
namespace detail {

template <class T>
concept pickled_number =
    std::same_as<T, bool> || std::same_as<T, float> || std::same_as<T, double> ||
    (std::integral<T> && !std::same_as<T, char> && !std::same_as<T, wchar_t> &&
     !std::same_as<T, char8_t> && !std::same_as<T, char16_t> && !std::same_as<T, char32_t>);

template <class T>
concept pickled_text = std::convertible_to<T const&, std::string_view>;

template <class T> inline constexpr bool is_optional = false;
template <class T> inline constexpr bool is_optional<std::optional<T>> = true;

/// std::tuple and std::pair. A std::array is a list or an array instead.
template <class T> inline constexpr bool is_pickled_tuple = false;
template <class... T> inline constexpr bool is_pickled_tuple<std::tuple<T...>> = true;
template <class A, class B> inline constexpr bool is_pickled_tuple<std::pair<A, B>> = true;

template <class T>
concept pickled_dict = std::ranges::input_range<T const> && requires {
  typename T::mapped_type;
  requires pickled_text<typename T::key_type>;
};

/// The result of named(): a tuple, and a name for each of its items.
template <class T>
concept pickled_names = requires(T const& value) {
  { value.names()[0] } -> std::convertible_to<std::string_view>;
  std::tuple_size<std::remove_cvref_t<decltype(value.arrays())>>::value;
};

/// A range whose elements keep their addresses while they are written.
template <class T>
concept pickled_list = std::ranges::forward_range<T const> &&
                       std::is_lvalue_reference_v<std::ranges::range_reference_t<T const>> &&
                       !requires { typename T::mapped_type; };

template <class T> consteval bool is_picklable() {
  using value = std::remove_cv_t<T>;
  if constexpr (pickled_text<value> || array_like<value> || pickled_number<value> ||
                std::same_as<value, std::nullopt_t> || std::same_as<value, std::monostate>) {
    return true;
  } else if constexpr (is_optional<value>) {
    return is_picklable<typename value::value_type>();
  } else if constexpr (is_pickled_tuple<value>) {
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (is_picklable<std::remove_cvref_t<std::tuple_element_t<I, value>>>() && ...);
    }(std::make_index_sequence<std::tuple_size_v<value>>{});
  } else if constexpr (pickled_names<value>) {
    return is_picklable<std::remove_cvref_t<decltype(std::declval<value const&>().arrays())>>();
  } else if constexpr (pickled_dict<value>) {
    return is_picklable<typename value::mapped_type>();
  } else if constexpr (pickled_list<value>) {
    return is_picklable<std::ranges::range_value_t<value const>>();
  } else {
    return false;
  }
}

}  // namespace detail

/// A value that dump() can write to a joblib file. It becomes this Python value:
///
///     std::string, std::string_view     str
///     bool, integers, float, double     bool, int, float
///     std::monostate                    None
///     array_like                        a NumPy array
///     std::optional                     its value or None
///     std::pair, std::tuple             tuple
///     named(), maps with string keys    dict
///     other ranges                      list
///
/// The last four contain picklable values, to any depth. So a std::vector<double> is an array, a
/// std::vector<std::vector<double>> a list of arrays, a std::vector<std::string> a list of str.
template <class V>
concept picklable = detail::is_picklable<V>();

namespace detail {

/// A value as formats see it, with the contents of its arrays.
class value_tree {
 public:
  template <picklable V>
  value_tree(V const& value, std::filesystem::path const& file)
      : file_(&file), root_(make(value)) {}

  content_value const& root() const { return root_; }

 private:
  static content_value of_kind(content_value::kind what) {
    content_value result;
    result.what = what;
    return result;
  }

  template <class V> content_value make(V const& value) {
    using kind = content_value::kind;
    if constexpr (pickled_text<V>) {
      auto result = of_kind(kind::text);
      result.text = std::string_view(value);
      return result;
    } else if constexpr (array_like<V>) {
      return make_array(value);
    } else if constexpr (pickled_number<V>) {
      return make_number(value);
    } else if constexpr (is_optional<V>) {
      return value ? make(*value) : of_kind(kind::none);
    } else if constexpr (is_pickled_tuple<V>) {
      auto result = of_kind(kind::tuple);
      result.items.reserve(std::tuple_size_v<V>);
      std::apply([&](auto const&... item) { (result.items.push_back(make(item)), ...); }, value);
      return result;
    } else if constexpr (pickled_names<V>) {
      auto result = make(value.arrays());
      result.what = kind::dict;
      result.keys.assign(value.names().begin(), value.names().end());
      return result;
    } else if constexpr (pickled_dict<V>) {
      auto result = of_kind(kind::dict);
      for (auto const& [key, item] : value) {
        result.keys.emplace_back(std::string_view(key));
        result.items.push_back(make(item));
      }
      check_keys(result.keys);
      return result;
    } else if constexpr (pickled_list<V>) {
      auto result = of_kind(kind::list);
      for (auto const& item : value) result.items.push_back(make(item));
      return result;
    } else {
      return of_kind(kind::none);
    }
  }

  /// Refuses a key that occurs twice, which a multimap can have and a dict cannot.
  template <class = void> void check_keys(std::vector<std::string> keys) const {
    auto const* const repeated = find_twice(keys);
    if (repeated == nullptr) return;
    throw std::invalid_argument("forkmap: dump " + file_->native() + ": the key " +
                                in_quotes(*repeated) + " occurs twice");
  }

  template <pickled_number N> static content_value make_number(N value) {
    using kind = content_value::kind;
    if constexpr (std::same_as<N, bool>) {
      auto result = of_kind(kind::boolean);
      result.boolean = value;
      return result;
    } else if constexpr (std::floating_point<N>) {
      auto result = of_kind(kind::real);
      result.real = value;
      return result;
    } else if (std::in_range<std::int64_t>(value)) {
      auto result = of_kind(kind::integer);
      result.integer = static_cast<std::int64_t>(value);
      return result;
    } else {
      auto result = of_kind(kind::natural);
      result.natural = static_cast<std::uint64_t>(value);
      return result;
    }
  }

  template <array_like A> content_value make_array(A const& array) {
    auto content = make_content(array, *file_, {});
    auto result = of_kind(content_value::kind::array);
    result.array = content.get();
    arrays_.push_back(std::move(content));
    return result;
  }

  std::filesystem::path const* file_;
  std::vector<std::shared_ptr<array_content const>> arrays_{};
  content_value root_;
};

template <class = void>
void dump_values(std::filesystem::path const& file, content_value const& content,
                 dump_options const& options) {
  if (options.dims.given() || options.layout != order::c) {
    throw std::invalid_argument(
        "forkmap: dump " + file.native() +
        ": the options dims and layout apply to a single array; arrays in containers have "
        "their own");
  }
  dump_content(file, content, options);
}

}  // namespace detail

/// Writes numbers, strings, and containers of these and of arrays to a joblib file: see picklable.
/// A map of arrays can also be written to an .npz file.
///
/// In Python, `joblib.load(file)` reads the value, and `joblib.load(file, mmap_mode="r")` maps its
/// arrays, whose data is 64-byte aligned. The write is atomic, as for one array.
/// Returns: `file`.
/// Errors: std::invalid_argument for a string that is not UTF-8, and for an extension whose format
///   holds only arrays, such as .npy. std::system_error naming the file.
/// Cost: numbers and strings are first collected in memory; arrays are not.
/// Example: `dump(std::map<std::string, std::vector<double>>{{"w", w}, {"b", b}}, "model.joblib");`
template <class V>
  requires(!array_like<V>)
std::filesystem::path dump(V const& value, std::filesystem::path const& file,
                           dump_options options = {}) {
  static_assert(picklable<V>,
                "forkmap: dump takes arrays (ranges of numbers or records), numbers, std::string, "
                "and std::optional, std::tuple, maps from std::string and ranges of these; for "
                "another class make a std::tuple or a std::map of its members");
  if constexpr (picklable<V>) {
    detail::value_tree const tree(value, file);
    detail::dump_values(file, tree.root(), options);
  }
  return file;
}

}  // namespace forkmap
