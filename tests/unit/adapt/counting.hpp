// What the adaptors' tests adapt.
#pragma once

#include <numeric>

#include <forkmap/shape.hpp>
#include <forkmap/shared_array.hpp>

/// 0, 1, 2, ... as they lie.
inline forkmap::shared_array<double> counting(forkmap::shape const& dims,
                                              forkmap::order layout = forkmap::order::c) {
  forkmap::shared_array<double> array(dims, layout);
  std::iota(array.begin(), array.end(), 0);
  return array;
}
