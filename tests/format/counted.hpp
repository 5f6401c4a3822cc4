// Arrays with elements 0, 1, 2, ... of every dtype, as python/counted.py makes them.
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <complex>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <forkmap/detail/array/dtype.hpp>
#include <forkmap/fixed_string.hpp>
#include <forkmap/half.hpp>
#include <forkmap/shape.hpp>

template <class T> T counted(std::size_t i) {
  auto const k = static_cast<int>(i % 100);
  if constexpr (forkmap::detail::is_complex<T>) {
    using real = typename T::value_type;
    return T(static_cast<real>(k), static_cast<real>(2 * k));
  } else if constexpr (std::same_as<T, bool>) {
    return k % 2 == 1;
  } else if constexpr (std::same_as<T, forkmap::half>) {
    return forkmap::half(static_cast<float>(k));
  } else if constexpr (std::same_as<T, forkmap::fixed_u32string<5>>) {
    auto const text = std::to_string(k);
    return T(std::u32string(text.begin(), text.end()));
  } else if constexpr (forkmap::detail::text_length<T> > 0) {
    return T(std::to_string(k));
  } else {
    return static_cast<T>(k);
  }
}

/// The elements in C order of their indices, for any layout in memory.
template <class T, class Array> bool is_counted(Array const& array) {
  auto const& dims = array.dims();
  for (std::size_t i = 0; i < array.size(); ++i) {
    std::size_t position = 0;
    std::size_t stride = 1;
    auto rest = i;
    std::array<std::size_t, forkmap::shape::max_rank> index{};
    for (auto axis = dims.rank(); axis-- > 0;) {
      index[axis] = rest % dims[axis];
      rest /= dims[axis];
    }
    for (std::size_t axis = 0; axis < dims.rank(); ++axis) {
      auto const k = array.layout() == forkmap::order::fortran ? axis : dims.rank() - 1 - axis;
      position += index[k] * stride;
      stride *= dims[k];
    }
    if (!(array[position] == counted<T>(i))) return false;
  }
  return true;
}

struct scalar_type {
  std::string name;
  void (*run)(std::filesystem::path const&, std::string const&);
};

/// Calls Check::run<T> for every dtype with its T.
template <class Check> std::vector<scalar_type> scalar_types() {
  return {{"b1", Check::template run<bool>},
          {"i1", Check::template run<std::int8_t>},
          {"i2", Check::template run<std::int16_t>},
          {"i4", Check::template run<std::int32_t>},
          {"i8", Check::template run<std::int64_t>},
          {"u1", Check::template run<std::uint8_t>},
          {"u2", Check::template run<std::uint16_t>},
          {"u4", Check::template run<std::uint32_t>},
          {"u8", Check::template run<std::uint64_t>},
          {"f2", Check::template run<forkmap::half>},
          {"f4", Check::template run<float>},
          {"f8", Check::template run<double>},
          {"f16", Check::template run<long double>},
          {"c8", Check::template run<std::complex<float>>},
          {"c16", Check::template run<std::complex<double>>},
          {"c32", Check::template run<std::complex<long double>>},
          {"S3", Check::template run<forkmap::fixed_string<3>>},
          {"U5", Check::template run<forkmap::fixed_u32string<5>>}};
}
