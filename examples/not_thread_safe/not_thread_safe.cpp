// Qhull computes the convex hulls of SciPy, MATLAB and Octave. Its interface of 1993 keeps all
// state in one global structure, so two threads that call it corrupt each other's hulls. Workers
// are processes: each has its own copy of Qhull's state, and Qhull needs no change.
// SPDX-License-Identifier: MIT
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <random>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

extern "C" {
#include <libqhull/qhull_a.h>
}

namespace fm = forkmap;

namespace {

/// The volume of the convex hull of n random points in the unit ball.
double hull_volume(int n) {
  // A generator per task, so that the points do not depend on the process.
  auto& random = fm::this_task::rng();
  std::normal_distribution<double> gauss;
  std::uniform_real_distribution<double> uniform;
  std::vector<double> points;
  for (int i = 0; i != n; ++i) {
    double const at[] = {gauss(random), gauss(random), gauss(random)};
    double const scale = std::cbrt(uniform(random)) / std::hypot(at[0], at[1], at[2]);
    for (double const each : at) points.push_back(each * scale);
  }

  char command[] = "qhull";
  int const failed = qh_new_qhull(3, n, points.data(), False, command, nullptr, stderr);
  if (failed == 0) qh_getarea(qh facet_list);
  double const volume = qh totvol;  // `qh` is the global structure
  qh_freeqhull(!qh_ALL);
  int long_memory = 0;
  int total = 0;
  qh_memfreeshort(&long_memory, &total);
  if (failed != 0) throw std::runtime_error("qhull: error " + std::to_string(failed));
  return volume;
}

}  // namespace

int main() {
  auto const sizes =
      std::views::iota(0, 60) | std::views::transform([](int i) { return 2'000 + 500 * i; });

  auto const sequential = fm::parallel(1).map(hull_volume, sizes);
  auto const alone = fm::last_report().wall;
  auto const pooled = fm::parallel(2).map(hull_volume, sizes);
  auto const together = fm::last_report().wall;

  using milliseconds = std::chrono::duration<double, std::milli>;
  std::printf("%zu hulls: %.0f ms one by one, %.0f ms in 2 workers\n", pooled.size(),
              milliseconds(alone).count(), milliseconds(together).count());
  std::printf("volumes from %.3f to %.3f, of a ball's 4.189; both ways %s\n", pooled.front(),
              pooled.back(), pooled == sequential ? "the same" : "DIFFERENT");
  return pooled == sequential ? 0 : 1;
}
