// The functions of parts.hpp, once for each of the two files.
// SPDX-License-Identifier: MIT
#include <csignal>
#include <vector>

#include <forkmap/detail/compress/zlib.hpp>
#include <forkmap/detail/crash/backtrace.hpp>
#include <forkmap/forkmap.hpp>

#include "parts.hpp"

namespace part {

inline sizes sizes_of() {
  return {.sums = sizeof(forkmap::detail::crc32_sum),
          .decompressor = sizeof(forkmap::detail::zlib_decompressor<>),
          .backtrace = sizeof(forkmap::detail::raw_backtrace)};
}

inline void write(std::filesystem::path const& file) {
  forkmap::dump(std::vector<double>(1000, 0.5), file, {.compress = "zlib"});
}

inline std::vector<double> read(std::filesystem::path const& file) {
  auto const array = forkmap::load<double>(file, forkmap::in_memory);
  return {array.begin(), array.end()};
}

inline std::string crash() {
  forkmap::pool const workers(2);
  auto const results = workers.outcomes([](int i) { return i == 3 ? std::raise(SIGSEGV) : i; },
                                        std::vector{1, 2, 3, 4});
  return results.at(2).error().trace();
}

/// The sum of the results of each kind of call.
inline int sum_of_calls() {
  auto const same = [](int i) { return i; };
  std::vector const numbers{1, 2, 3};
  int sum = 0;
  for (int const n_jobs : {1, 2}) {
    auto const workers = forkmap::parallel(n_jobs);
    for (int const x : workers.map(same, numbers)) sum += x;
    for (int const x : workers.stream(same, numbers)) sum += x;
  }
  forkmap::pool const workers(2);
  for (int const x : workers.map(same, numbers)) sum += x;
  for (int const x : workers.stream(same, numbers)) sum += x;
  return sum + workers.submit(same, 4).get();
}

}  // namespace part
