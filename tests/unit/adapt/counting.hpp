// Arrays for the tests of the adaptors.
// SPDX-License-Identifier: MIT
#pragma once

#include <numeric>

#include <forkmap/shape.hpp>
#include <forkmap/shared_array.hpp>

/// The elements 0, 1, 2, ... in the order in memory.
inline forkmap::shared_array<double> counting(forkmap::shape const& dims,
                                              forkmap::order layout = forkmap::order::c) {
  forkmap::shared_array<double> array(dims, layout);
  std::iota(array.begin(), array.end(), 0);
  return array;
}
