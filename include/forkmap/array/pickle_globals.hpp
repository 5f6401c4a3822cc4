// The names of classes and functions that a pickle may mention: those of which arrays and plain
// values consist. Every other one is refused by its name, and nothing is ever looked up or called.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <forkmap/array/literal.hpp>
#include <forkmap/system/lazily.hpp>

namespace forkmap::detail {

enum class pickle_global : std::uint8_t {
  wrapper,       // joblib's NumpyArrayWrapper
  array_class,   // ndarray and what else an array may have been
  dtype,         // numpy.dtype
  scalar,        // numpy's numbers: np.float64(2.5)
  encode,        // bytes in protocol 2: _codecs.encode(text, 'latin1')
  bytes,         // bytes() in protocol 2, bytearray
  set,           // set([...]) below protocol 4
  ordered_dict,  // collections.OrderedDict
};

template <class Lazy = void>
std::optional<lazily<pickle_global, Lazy>> find_global(std::string_view module,
                                                       std::string_view name) {
  struct allowed {
    std::string_view module;
    std::string_view name;
    pickle_global what;
  };
  using enum pickle_global;
  static constexpr allowed all[] = {
      {"joblib.numpy_pickle", "NumpyArrayWrapper", wrapper},
      {"sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper", wrapper},
      {"numpy", "ndarray", array_class},
      {"numpy", "memmap", array_class},
      {"numpy.core.memmap", "memmap", array_class},
      {"numpy", "matrix", array_class},
      {"numpy.matrixlib.defmatrix", "matrix", array_class},
      {"numpy", "dtype", dtype},
      {"numpy.core.multiarray", "scalar", scalar},
      {"numpy._core.multiarray", "scalar", scalar},
      {"_codecs", "encode", encode},
      {"__builtin__", "bytes", bytes},
      {"builtins", "bytes", bytes},
      {"__builtin__", "bytearray", bytes},
      {"builtins", "bytearray", bytes},
      {"__builtin__", "set", set},
      {"builtins", "set", set},
      {"__builtin__", "frozenset", set},
      {"builtins", "frozenset", set},
      {"collections", "OrderedDict", ordered_dict},
  };
  for (auto const& row : all) {
    if (row.module == module && row.name == name) return row.what;
  }
  return {};
}

/// Why a name that is not allowed is not, and the way out.
template <class Lazy = void>
std::string refusal_of_global(std::string_view module, std::string_view name) {
  if (name == "NDArrayWrapper" || name == "ZNDArrayWrapper") {
    return "joblib 0.9 or older wrote the file and its arrays into files beside it, which is not "
           "read; load it with joblib and joblib.dump it again";
  }
  if (name == "_reconstruct" && module.starts_with("numpy.")) {
    return "a plain pickle of a NumPy array, which is not read; joblib.dump it instead";
  }
  return "the file holds " + in_quotes(name) + " of the Python module " + in_quotes(module) +
         ", which is never made from a file, because a pickle may run code; convert it to a list, "
         "dict or array before joblib.dump";
}

}  // namespace forkmap::detail
