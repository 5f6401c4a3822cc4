// SPDX-License-Identifier: MIT
#include <complex>
#include <cstddef>
#include <cstdint>
#include <string>

#include <forkmap/detail/array/dtype.hpp>

#include "support/catch.hpp"

using namespace forkmap::detail;

static_assert(array_scalar<bool> && array_scalar<char> && array_scalar<std::byte>);
static_assert(array_scalar<long double> && array_scalar<std::complex<float>>);
static_assert(!array_scalar<void*> && !array_scalar<std::string> && !array_scalar<int const>);
static_assert(dtype_of<long>() == dtype_of<long long>());
static_assert(dtype_of<std::byte>() == dtype_of<unsigned char>());
static_assert(dtype_of<bool>() != dtype_of<unsigned char>());

TEST_CASE("dtype: is spelled as in NumPy", "[array]") {
  CHECK(spelling(dtype_of<bool>()) == "|b1");
  CHECK(spelling(dtype_of<signed char>()) == "|i1");
  CHECK(spelling(dtype_of<std::uint16_t>()) == "<u2");
  CHECK(spelling(dtype_of<double>()) == "<f8");
  CHECK(spelling(dtype_of<std::complex<double>>()) == "<c16");
  CHECK(spelling(*parse_dtype(">U5")) == ">U5");
}

TEST_CASE("dtype: NumPy's spellings are parsed", "[array]") {
  CHECK(parse_dtype("<f8") == dtype_of<double>());
  CHECK(parse_dtype("=f8") == dtype_of<double>());
  CHECK(parse_dtype("f8") == dtype_of<double>());
  CHECK(parse_dtype("<i1") == dtype_of<signed char>());
  CHECK(parse_dtype(">c8") == dtype{'c', '>', 8});
  CHECK(parse_dtype("<U5") == dtype{'U', '<', 20});
  CHECK(parse_dtype("|S0") == dtype{'S', '|', 0});
  CHECK(parse_dtype("<M8[ns]") == dtype{'M', '<', 8});
  CHECK(parse_dtype("|O")->kind == 'O');
}

TEST_CASE("dtype: other spellings are refused", "[array]") {
  for (auto const* text : {"", "<", "f", "<f", "<f3", "<f08", "|f8", "<f8 ", "<f-8", "float64",
                           "<M8[", "<M8ns]", "<b2", "<f4294967304", "O9", "<<f8"}) {
    INFO(text);
    CHECK_FALSE(parse_dtype(text).has_value());
  }
}

TEST_CASE("dtype: real and imaginary parts are byte-swapped separately", "[array]") {
  CHECK(swapped_bytes(dtype_of<std::complex<float>>()) == 4);
  CHECK(swapped_bytes(dtype_of<double>()) == 8);
  CHECK(is_foreign({'f', '>', 8}) != is_foreign({'f', '<', 8}));
  CHECK_FALSE(is_foreign({'b', '|', 1}));
}
