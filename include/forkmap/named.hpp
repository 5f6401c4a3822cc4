// Several arrays by name into one file.
#pragma once

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

#include <forkmap/array/content.hpp>
#include <forkmap/array/literal.hpp>
#include <forkmap/array/npz_writer.hpp>
#include <forkmap/dump.hpp>
#include <forkmap/dump_value.hpp>

namespace forkmap {

/// Arrays with names, as named() makes it. Those that were lvalues there are referred to, others are
/// held.
template <class... A> class named_arrays {
 public:
  /// Errors: std::invalid_argument for names that are empty, twice, no UTF-8, or lead out of a folder.
  named_arrays(std::array<std::string, sizeof...(A)> names, std::tuple<A...> arrays)
      : names_(std::move(names)), arrays_(std::move(arrays)) {
    for (auto name = names_.begin(); name != names_.end(); ++name) {
      std::string why(detail::bad_array_name(*name));
      if (std::find(names_.begin(), name, *name) != name) why = "is there twice";
      if (why.empty()) continue;
      throw std::invalid_argument("forkmap: named: the name " + detail::in_quotes(*name) +
                                  " of an array " + why);
    }
  }

  std::array<std::string, sizeof...(A)> const& names() const { return names_; }
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
                "forkmap: named takes names and arrays by turns: named(\"a\", x, \"b\", y)");
  static_assert((picklable<std::remove_cvref_t<std::tuple_element_t<2 * I + 1, tuple>>> && ...),
                "forkmap: named takes names and arrays (ranges of numbers or records) by turns: "
                "named(\"a\", x, \"b\", y); for a joblib file also other values (picklable)");
  return named_arrays<named_as<std::tuple_element_t<2 * I + 1, tuple>>...>(
      {std::string(std::string_view(std::get<2 * I>(arguments)))...},
      {std::forward<std::tuple_element_t<2 * I + 1, tuple>>(std::get<2 * I + 1>(arguments))...});
}

}  // namespace detail

/// Arrays and the names that they are to have in a file: named("a", x, "b", y). For a joblib file,
/// where they become a dict, they may be whatever is picklable, other named() too.
///
/// Errors: std::invalid_argument for a name that is empty, there twice, no UTF-8, absolute, or that
///   holds "..", a backslash or a zero byte.
/// Example: `dump(named("weights", w, "bias", b), "model.npz");`
template <class... Arguments> auto named(Arguments&&... arguments) {
  static_assert(sizeof...(Arguments) > 0 && sizeof...(Arguments) % 2 == 0,
                "forkmap: named takes names and arrays by turns: named(\"a\", x, \"b\", y)");
  return detail::named_of(std::forward_as_tuple(std::forward<Arguments>(arguments)...),
                          std::make_index_sequence<sizeof...(Arguments) / 2>{});
}

/// Writes several arrays to one file, which is an .npz archive: `numpy.load(file)["weights"]`; or,
/// if its name ends in .joblib or .pkl, a dict: `joblib.load(file)["weights"]`.
///
/// The file is the old one or the new one, complete, as of dump() of one array. The data of each
/// lies on a multiple of 64 bytes, so that load() maps it, unless it is compressed.
/// Returns: `file`.
/// Errors: std::invalid_argument for dims or a layout in the options, which are for one array, for
///   a way to compress that the format has not, and for formats of one array, such as .npy;
///   std::system_error naming the file, or the library that compresses and is missing.
/// Cost: one pass over all data, and a checksum of it.
/// Example: `dump(named("weights", w, "bias", b), "model.npz", {.compress = "zlib"});`
template <class... A>
std::filesystem::path dump(named_arrays<A...> const& arrays, std::filesystem::path const& file,
                           dump_options options = {}) {
  detail::value_tree const tree(arrays, file);
  detail::dump_values(file, tree.root(), options);
  return file;
}

}  // namespace forkmap
