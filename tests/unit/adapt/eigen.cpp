// Arrays as Eigen maps, and Eigen's matrices in files. Empty if Eigen is not installed.
// SPDX-License-Identifier: MIT
#if __has_include(<Eigen/Core>)

#include <complex>
#include <concepts>
#include <cstddef>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include <forkmap/adapt/eigen.hpp>
#include <forkmap/dump.hpp>
#include <forkmap/load.hpp>
#include <forkmap/parallel.hpp>
#include <forkmap/pool.hpp>
#include <forkmap/shared_array.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"
#include "unit/adapt/counting.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

using row_matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
static_assert(std::same_as<decltype(fm::as_eigen_vector(std::declval<fm::memmap<double>&>())),
                           Eigen::Map<Eigen::VectorXd>>);
static_assert(
    std::same_as<decltype(fm::as_eigen_vector(std::declval<fm::memmap<double const> const&>())),
                 Eigen::Map<Eigen::VectorXd const>>);
static_assert(std::same_as<decltype(fm::as_eigen_matrix<Eigen::RowMajor>(
                               std::declval<fm::owned_array<double> const&>())),
                           Eigen::Map<row_matrix const>>);
static_assert(std::same_as<decltype(fm::as_eigen_matrix<Eigen::ColMajor>(
                               std::declval<fm::owned_array<double>&>())),
                           Eigen::Map<Eigen::MatrixXd>>);

namespace {

template <class Call> std::string what_of(Call const& call) {
  try {
    call();
  } catch (std::invalid_argument const& e) {
    return e.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("eigen: a vector and a matrix use the memory of the array", "[adapt]") {
  auto const array = counting({3, 4});
  auto m = fm::as_eigen_matrix<Eigen::RowMajor>(array);
  REQUIRE(m.rows() == 3);
  REQUIRE(m.cols() == 4);
  REQUIRE(m.data() == array.data());
  REQUIRE(m(1, 2) == array(1, 2));
  m(2, 3) = -1;
  REQUIRE(array(2, 3) == -1);
  auto const row = array.row(1);
  REQUIRE(fm::as_eigen_vector(row).sum() == 4 + 5 + 6 + 7);

  auto const columns = counting({3, 4}, fm::order::fortran);
  REQUIRE(fm::as_eigen_matrix<Eigen::ColMajor>(columns)(1, 2) == columns(1, 2));
}

TEST_CASE("eigen: a layout that is known only at run time", "[adapt]") {
  for (auto const layout : {fm::order::c, fm::order::fortran}) {
    fm::shared_array<double const> const array = counting({3, 4}, layout);
    auto const m = fm::as_eigen_matrix(array);
    for (int i = 0; i != 3; ++i) {
      for (int j = 0; j != 4; ++j) REQUIRE(m(i, j) == array(i, j));
    }
  }
}

TEST_CASE("eigen: a wrong layout or rank is an error that names the dims and a way out",
          "[adapt]") {
  auto const rows = counting({3, 4});
  CHECK_THAT(what_of([&] { fm::as_eigen_matrix<Eigen::ColMajor>(rows); }),
             ContainsSubstring("as_eigen_matrix<Eigen::ColMajor>: the array of dims (3, 4) has "
                               "order c but must have order fortran; use transposed()"));
  CHECK_THAT(what_of([&] { fm::as_eigen_vector(rows); }),
             ContainsSubstring("dims (3, 4) but must have 1 axis; use reshape()"));
  auto const vector = counting({3});
  CHECK_THAT(what_of([&] { fm::as_eigen_matrix(vector); }), ContainsSubstring("must have 2 axes"));
  auto const empty = counting({0, 3});
  CHECK(fm::as_eigen_matrix(empty).size() == 0);
}

TEST_CASE("eigen: dump writes matrices and vectors in the layout they have", "[adapt]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  Eigen::MatrixXd const columns = Eigen::MatrixXd::Random(3, 5);
  row_matrix const rows = columns;
  auto const check = [&](auto const& array, fm::order layout) {
    REQUIRE(array.dims() == fm::shape{3, 5});
    REQUIRE(array.layout() == layout);
    REQUIRE(fm::as_eigen_matrix(array) == columns);
  };
  check(fm::load<double>(fm::dump(columns, file)), fm::order::fortran);
  check(fm::load<double>(fm::dump(rows, file)), fm::order::c);
  check(fm::load<double>(fm::dump(Eigen::Map<row_matrix const>(rows.data(), 3, 5), file)),
        fm::order::c);
  REQUIRE(fm::load<double>(fm::dump(Eigen::VectorXd::Ones(7).eval(), file)).dims() == fm::shape{7});
  REQUIRE(fm::load<double>(fm::dump(Eigen::RowVector3d(1, 2, 3), file))[2] == 3);
  auto const fixed = fm::load<int>(fm::dump(Eigen::Matrix<int, 2, 3>::Ones().eval(), file));
  REQUIRE(fixed.dims() == fm::shape{2, 3});
  Eigen::ArrayXXcd const numbers = Eigen::ArrayXXcd::Constant(2, 2, {1, 2});
  REQUIRE(fm::load<std::complex<double>>(fm::dump(numbers, file))(1, 1) ==
          std::complex<double>(1, 2));
  REQUIRE(fm::load<double>(fm::dump(Eigen::MatrixXd(0, 4), file)).dims() == fm::shape{0, 4});
}

TEST_CASE("eigen: dump evaluates expressions that are not contiguous", "[adapt]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  Eigen::MatrixXd const m = Eigen::MatrixXd::Random(6, 5);
  auto const same = [&](auto const& expression) {
    auto const array = fm::load<double>(fm::dump(expression, file));
    return fm::as_eigen_matrix(array) == expression.eval();
  };
  REQUIRE(same(m.block(1, 1, 3, 2)));
  REQUIRE(same(m.middleCols(1, 3)));  // this block is contiguous
  REQUIRE(same(m.transpose()));
  REQUIRE(same(m.block(1, 1, 3, 2).transpose()));
  REQUIRE(same(2 * m + m));
  REQUIRE(same(m.transpose() * m));
  auto const row = fm::load<double>(fm::dump(m.row(2), file));
  REQUIRE(row.dims() == fm::shape{5});
  for (int j = 0; j != 5; ++j) REQUIRE(row[static_cast<std::size_t>(j)] == m(2, j));
  auto const column = fm::load<double>(fm::dump(m.col(2), file));
  REQUIRE(fm::as_eigen_vector(column) == m.col(2));
}

namespace {

using fixed = Eigen::Matrix<float, 2, 3, Eigen::RowMajor>;
using limited = Eigen::Matrix<int, Eigen::Dynamic, 1, 0, 10, 1>;
using of_strings = Eigen::Array<std::string, Eigen::Dynamic, 1>;

/// A result with Eigen objects among its members.
struct fitted {
  Eigen::MatrixXcd matrix;
  Eigen::Vector3d vector;
  fixed of_fixed_size;
  limited of_limited_size;
  of_strings names;
};

fitted fit(int n) {
  fitted made{Eigen::MatrixXcd::Constant(n, n + 1, {n * 1.0, 2.0}),
              {n * 1.0, 2, 3},
              fixed::Constant(static_cast<float>(n)),
              limited::Constant(n % 10, n),
              of_strings(n % 3)};
  for (auto& name : made.names) name = "name " + std::to_string(n);
  return made;
}

bool is_fitted(fitted const& one, int n) {
  auto const other = fit(n);
  return one.matrix == other.matrix && one.vector == other.vector &&
         one.of_fixed_size == other.of_fixed_size && one.of_limited_size == other.of_limited_size &&
         (one.names == other.names).all() && one.names.size() == other.names.size();
}

}  // namespace

TEST_CASE("eigen: tasks return, get and send matrices and arrays", "[eigen]") {
  auto const numbers = std::views::iota(0, 12);
  fm::pool const workers(2);
  for (auto const& results : {fm::parallel(2).map(fit, numbers), workers.map(fit, numbers)}) {
    for (int n = 0; n != 12; ++n) CHECK(is_fitted(results[static_cast<std::size_t>(n)], n));
  }
  auto const sum = [](Eigen::MatrixXd const& m) { return m.sum(); };
  CHECK(workers.submit(sum, Eigen::MatrixXd(Eigen::MatrixXd::Constant(3, 4, 0.5))).get() == 6);
  std::vector<double> sums;
  auto const add = [&](std::size_t, Eigen::RowVectorXd const& row) { sums.push_back(row.sum()); };
  fm::parallel({.n_jobs = 1, .isolate = true, .on_message = add})
      .map([](int n) { fm::this_task::send(Eigen::RowVectorXd(Eigen::RowVectorXd::Ones(n))); },
           numbers);
  CHECK(sums.size() == 12);
}

#endif
