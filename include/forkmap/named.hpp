// Functions that write several named arrays to one file.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/npz/npz.hpp>
#include <forkmap/dump.hpp>
#include <forkmap/dump_value.hpp>

namespace forkmap {

/// Arrays and their names: the return type of named(). It refers to arrays that were passed as
/// lvalues and owns the others.
template <class... A> class named_arrays {
 public:
  /// Errors: std::invalid_argument for an invalid name: see named().
  named_arrays(std::array<std::string, sizeof...(A)> names, std::tuple<A...> arrays)
      : names_(std::move(names)), arrays_(std::move(arrays)) {
    for (auto name = names_.begin(); name != names_.end(); ++name) {
      std::string why(detail::bad_array_name(*name));
      if (std::find(names_.begin(), name, *name) != name) why = "occurs twice";
      if (why.empty()) continue;
      throw std::invalid_argument("forkmap: named: the name " + detail::in_quotes(*name) +
                                  " of an array " + why);
    }
  }

  /// The names, in the order of the arrays.
  std::array<std::string, sizeof...(A)> const& names() const { return names_; }
  /// The arrays.
  std::tuple<A...> const& arrays() const { return arrays_; }

 private:
  std::array<std::string, sizeof...(A)> names_;
  std::tuple<A...> arrays_;
};

namespace detail {

template <class A>
using named_as = std::conditional_t<std::is_lvalue_reference_v<A>,
                                    std::remove_reference_t<A> const&, std::remove_cvref_t<A>>;

template <class Arguments, std::size_t... I>
auto named_of(Arguments&& arguments, std::index_sequence<I...> /*pairs*/) {
  using tuple = std::remove_reference_t<Arguments>;
  static_assert((std::convertible_to<std::tuple_element_t<2 * I, tuple>, std::string_view> && ...),
                "forkmap: named takes names and arrays alternately: named(\"a\", x, \"b\", y)");
  static_assert((picklable<std::remove_cvref_t<std::tuple_element_t<2 * I + 1, tuple>>> && ...),
                "forkmap: named takes names and arrays (ranges of numbers or records) alternately: "
                "named(\"a\", x, \"b\", y); for a joblib file also other values (picklable)");
  return named_arrays<named_as<std::tuple_element_t<2 * I + 1, tuple>>...>(
      {std::string(std::string_view(std::get<2 * I>(arguments)))...},
      {std::forward<std::tuple_element_t<2 * I + 1, tuple>>(std::get<2 * I + 1>(arguments))...});
}

}  // namespace detail

/// Gives arrays the names under which dump() writes them: named("a", x, "b", y).
///
/// For a joblib file, where the result becomes a dict, any picklable values are possible, another
/// named() too.
/// Returns: a named_arrays. It refers to arrays passed as lvalues, which must outlive it.
/// Errors: std::invalid_argument for a name that is empty, too long, not UTF-8 or absolute, that
///   occurs twice, or that contains "..", a backslash or a zero byte.
/// Example: `dump(named("weights", w, "bias", b), "model.npz");`
template <class... Arguments> auto named(Arguments&&... arguments) {
  static_assert(sizeof...(Arguments) > 0 && sizeof...(Arguments) % 2 == 0,
                "forkmap: named takes names and arrays alternately: named(\"a\", x, \"b\", y)");
  return detail::named_of(std::forward_as_tuple(std::forward<Arguments>(arguments)...),
                          std::make_index_sequence<sizeof...(Arguments) / 2>{});
}

/// Writes several named arrays to one file: an .npz archive, read by `numpy.load(file)["weights"]`;
/// or a dict if the extension is .joblib or .pkl, read by `joblib.load(file)["weights"]`.
///
/// The write is atomic, as for one array. The data of each array is 64-byte aligned, so that load()
/// can map it, unless it is compressed.
/// Returns: `file`.
/// Errors: std::invalid_argument if the options have dims or a layout, which apply to a single
///   array; for a compression that the format does not support; and for an extension whose format
///   holds one array, such as .npy. std::system_error naming the file, or the missing compression
///   library.
/// Cost: one pass over all data, and a checksum of it, by libz even without compression.
/// Example: `dump(named("weights", w, "bias", b), "model.npz", {.compress = "zlib"});`
template <class... A>
std::filesystem::path dump(named_arrays<A...> const& arrays, std::filesystem::path const& file,
                           dump_options options = {}) {
  detail::value_tree const tree(arrays, file);
  detail::dump_values(file, tree.root(), options);
  return file;
}

}  // namespace forkmap
