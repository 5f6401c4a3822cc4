// Results with members of many elements: their bytes are copied on some ways to the caller, to
// addresses with another alignment.
// SPDX-License-Identifier: MIT
#include <cstddef>
#include <filesystem>
#include <map>
#include <ranges>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;

namespace {

struct alignas(32) wide {
  double value[4];
  friend bool operator==(wide const&, wide const&) = default;
};

/// A result in which each block of elements begins at an address that depends on n.
struct blocks {
  std::string text;
  std::vector<double> doubles;
  std::vector<long double> long_doubles;
  std::vector<wide> wides;
  std::map<int, std::vector<short>> shorts;
  friend bool operator==(blocks const&, blocks const&) = default;
};

blocks make_blocks(int n) {
  auto const count = static_cast<std::size_t>(n % 3 == 0 ? 40'000 : 150);
  return {std::string(static_cast<std::size_t>(n), 'x'),
          std::vector<double>(count, n + 0.5),
          std::vector<long double>(count, n),
          std::vector<wide>(count, wide{{n * 1.0, 2, 3, 4}}),
          {{n, std::vector<short>(count, static_cast<short>(n))}}};
}

constexpr int n_results = 70;  // more than the largest alignment

auto of_results() { return std::views::iota(0, n_results); }

template <class Results> int wrong_blocks(Results&& results) {
  int n = 0, wrong = 0;
  for (auto const& result : results) wrong += result == make_blocks(n++) ? 0 : 1;
  return n == n_results ? wrong : n_results;
}

}  // namespace

TEST_CASE("large members: calls and streams of parallel return them unchanged", "[parallel]") {
  CHECK(wrong_blocks(fm::parallel(2).map(make_blocks, of_results())) == 0);
  CHECK(wrong_blocks(fm::parallel(2).stream(make_blocks, of_results())) == 0);
  CHECK(wrong_blocks(fm::parallel(1).stream(make_blocks, of_results())) == 0);
}

TEST_CASE("large members: calls, streams and futures of a pool return them unchanged", "[pool]") {
  fm::pool const workers(2);
  CHECK(wrong_blocks(workers.map(make_blocks, of_results())) == 0);
  CHECK(wrong_blocks(workers.stream(make_blocks, of_results())) == 0);
  std::vector<blocks> got;
  for (int const n : of_results()) got.push_back(workers.submit(make_blocks, n).get());
  CHECK(wrong_blocks(got) == 0);
}

TEST_CASE("large members: a pool's tasks get them as arguments unchanged", "[pool]") {
  auto const is_right = [](blocks const& argument, int n) { return argument == make_blocks(n); };
  fm::pool const workers(2);
  for (int const n : of_results()) CHECK(workers.submit(is_right, make_blocks(n), n).get());
}

TEST_CASE("large members: a journal returns them unchanged", "[resume]") {
  support::temporary_directory const folder;
  auto const journal = folder.path() / "journal";
  for (int run = 0; run != 2; ++run) {
    auto const results =
        fm::parallel({.n_jobs = 2, .resume = journal}).map(make_blocks, of_results());
    CHECK(wrong_blocks(results) == 0);
  }
}
