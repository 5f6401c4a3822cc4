// Files that NumPy wrote are read, and forkmap writes the same bytes as NumPy.
// SPDX-License-Identifier: MIT
#include <array>
#include <complex>
#include <filesystem>
#include <string>

#include <forkmap/dump.hpp>
#include <forkmap/inspect.hpp>
#include <forkmap/load.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

namespace {

std::filesystem::path numpy_file(std::string const& name) {
  return std::filesystem::path(FORKMAP_TEST_DIR) / "format/numpy" / (name + ".npy");
}

/// The k-th element of the files that make.py writes.
template <class T> T expected(int k) {
  if constexpr (fm::detail::is_complex<T>) {
    using real = typename T::value_type;
    return T(static_cast<real>(k), static_cast<real>(2 * k));
  } else if constexpr (std::same_as<T, bool>) {
    return k % 2 == 1;
  } else if constexpr (std::same_as<T, fm::half>) {
    return fm::half(static_cast<float>(k));
  } else {
    return static_cast<T>(k);
  }
}

template <class T, class Array> void check_elements(Array const& array) {
  REQUIRE(array.dims() == fm::shape{2, 3});
  for (int row = 0; row < 2; ++row) {
    for (int column = 0; column < 3; ++column) {
      CHECK(array(row, column) == expected<T>(3 * row + column));
    }
  }
}

template <class T> void check_type(std::string const& name) {
  INFO(name);
  support::temporary_directory const folder;
  auto const file = numpy_file(name);
  auto const mapped = fm::load<T>(file);
  check_elements<T>(mapped);
  auto const copied = fm::load<T>(file, fm::in_memory);
  check_elements<T>(copied);

  fm::dump(mapped, folder.path() / "mapped.npy");
  CHECK(support::file_bytes(folder.path() / "mapped.npy") == support::file_bytes(file));
  fm::dump(copied, folder.path() / "copied.npy");
  CHECK(support::file_bytes(folder.path() / "copied.npy") == support::file_bytes(file));

  auto const info = fm::inspect(file);
  CHECK(info.dims == fm::shape{2, 3});
  CHECK(info.offset == 128);
  CHECK(info.format == "npy");
  CHECK(info.item_bytes == sizeof(T));
}

}  // namespace

TEST_CASE("format: every scalar type of NumPy is read and written back the same",
          "[array][format]") {
  check_type<bool>("b1");
  check_type<std::int8_t>("i1");
  check_type<std::int16_t>("i2");
  check_type<std::int32_t>("i4");
  check_type<std::int64_t>("i8");
  check_type<long>("i8");
  check_type<long long>("i8");
  check_type<std::uint8_t>("u1");
  check_type<std::uint16_t>("u2");
  check_type<std::uint32_t>("u4");
  check_type<std::uint64_t>("u8");
  check_type<float>("f4");
  check_type<double>("f8");
  check_type<long double>("f16");
  check_type<std::complex<float>>("c8");
  check_type<std::complex<double>>("c16");
  check_type<std::complex<long double>>("c32");
}

TEST_CASE("format: an array in Fortran order keeps its indices", "[array][format]") {
  support::temporary_directory const folder;
  auto const array = fm::load<double>(numpy_file("f8_fortran"));
  CHECK(array.layout() == fm::order::fortran);
  CHECK(array[1] == 3.0);
  check_elements<double>(array);
  fm::dump(array, folder.path() / "again.npy");
  CHECK(support::file_bytes(folder.path() / "again.npy") ==
        support::file_bytes(numpy_file("f8_fortran")));
}

TEST_CASE("format: vectors, scalars, empty arrays and many axes are read as in NumPy",
          "[array][format]") {
  support::temporary_directory const folder;
  auto const again = folder.path() / "again.npy";
  for (auto const& [name, dims] : {std::pair{"f8_vector", fm::shape{5}},
                                   {"f8_scalar", fm::shape::scalar()},
                                   {"f8_empty", fm::shape{0, 3}},
                                   {"f8_rank_9", fm::shape{1, 1, 1, 1, 2, 1, 1, 1, 1}}}) {
    INFO(name);
    auto const array = fm::load<double>(numpy_file(name));
    CHECK(array.dims() == dims);
    CHECK(array.size() == dims.count());
    fm::dump(array, again);
    CHECK(support::file_bytes(again) == support::file_bytes(numpy_file(name)));
    CHECK(fm::load<double>(numpy_file(name), fm::in_memory).dims() == dims);
  }
  CHECK(fm::load<double>(numpy_file("f8_scalar"))() == 2.5);
}

TEST_CASE("format: versions 2.0 and 3.0 are read", "[array][format]") {
  check_elements<double>(fm::load<double>(numpy_file("f8_version_2")));
  check_elements<double>(fm::load<double>(numpy_file("f8_version_3")));
}

TEST_CASE("format: a foreign byte order is swapped in memory and refused when mapping",
          "[array][format]") {
  check_elements<std::int16_t>(fm::load<std::int16_t>(numpy_file("i2_big_endian"), fm::in_memory));
  check_elements<std::int32_t>(fm::load<std::int32_t>(numpy_file("i4_big_endian"), fm::in_memory));
  check_elements<std::uint64_t>(
      fm::load<std::uint64_t>(numpy_file("u8_big_endian"), fm::in_memory));
  check_elements<float>(fm::load<float>(numpy_file("f4_big_endian"), fm::in_memory));
  check_elements<double>(fm::load<double>(numpy_file("f8_big_endian"), fm::in_memory));
  check_elements<std::complex<float>>(
      fm::load<std::complex<float>>(numpy_file("c8_big_endian"), fm::in_memory));
  check_elements<std::complex<double>>(
      fm::load<std::complex<double>>(numpy_file("c16_big_endian"), fm::in_memory));

  CHECK_THROWS_AS(fm::load<double>(numpy_file("f8_big_endian")), fm::dtype_error);
  CHECK_THROWS_WITH(
      fm::load<double>(numpy_file("f8_big_endian"), fm::copy_on_write),
      ContainsSubstring("'>f8'") && ContainsSubstring("'<f8'") && ContainsSubstring("in_memory"));
  CHECK(fm::inspect(numpy_file("f8_big_endian")).dtype == ">f8");
}

TEST_CASE("format: errors name the types that have no C++ type", "[array][format]") {
  for (auto const* name : {"M8", "records"}) {
    INFO(name);
    CHECK_THROWS_AS(fm::load<double>(numpy_file(name)), fm::dtype_error);
    CHECK_THROWS_AS(fm::load<double>(numpy_file(name), fm::in_memory), fm::dtype_error);
  }
  CHECK_THROWS_WITH(fm::load<double>(numpy_file("M8")), ContainsSubstring("'<M8'"));
  CHECK_THROWS_WITH(fm::load<double>(numpy_file("records")),
                    ContainsSubstring("records of 2 fields") && ContainsSubstring("'<f8'"));
  CHECK(fm::inspect(numpy_file("M8")).dtype == "<M8[ns]");
  CHECK(fm::inspect(numpy_file("records")).dtype == "[('x', '<f8'), ('n', '<i4', (3,))]");
  CHECK_THROWS_AS(fm::load<double>(numpy_file("objects")), fm::format_error);
  CHECK_THROWS_WITH(fm::load<double>(numpy_file("objects")), ContainsSubstring("Python objects"));
}

TEST_CASE("format: texts of a fixed size are read and written back the same", "[array][format]") {
  support::temporary_directory const folder;
  auto const again = folder.path() / "again.npy";

  auto const bytes = fm::load<fm::fixed_string<3>>(numpy_file("S3"));
  REQUIRE(bytes.dims() == fm::shape{2});
  CHECK(bytes[0] == "ab");
  CHECK(bytes[1] == "cde");
  fm::dump(bytes, again);
  CHECK(support::file_bytes(again) == support::file_bytes(numpy_file("S3")));
  CHECK(fm::load<std::array<char, 3>>(numpy_file("S3"))[1] == std::array{'c', 'd', 'e'});

  auto const characters = fm::load<fm::fixed_u32string<5>>(numpy_file("U5"));
  CHECK(characters[0] == U"ab");
  CHECK(characters[1] == U"cd\u00e9fg");
  fm::dump(characters, again);
  CHECK(support::file_bytes(again) == support::file_bytes(numpy_file("U5")));

  CHECK_THROWS_WITH(fm::load<fm::fixed_string<4>>(numpy_file("S3")),
                    ContainsSubstring("load<fixed_string<3>> reads it"));
  CHECK_THROWS_WITH(fm::load<double>(numpy_file("U5")),
                    ContainsSubstring("'<U5' (fixed_u32string<5>)"));
}

TEST_CASE("format: halves are read and written back the same", "[array][format]") {
  check_type<fm::half>("f2");
}
