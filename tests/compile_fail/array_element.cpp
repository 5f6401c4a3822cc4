// expect: the elements of an array must be bool, integers, floating-point or complex numbers
// mention: check_element.*particle
// SPDX-License-Identifier: MIT
#include <forkmap/load.hpp>

struct particle {
  double mass;
#ifdef CONTROL
  std::array<float, 3> at;
#else
  float at[3];
#endif
};

int main() { forkmap::load<particle>("particles.npy"); }
