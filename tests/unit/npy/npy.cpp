// SPDX-License-Identifier: MIT
#include <string>

#include <forkmap/detail/npy/npy.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;
using namespace forkmap::detail;
using Catch::Matchers::ContainsSubstring;

TEST_CASE("npy: a header equals NumPy's byte for byte", "[array]") {
  using namespace std::string_literals;
  auto const head = npy_head({dtype_of<double>(), {}}, fm::shape{3, 4}, fm::order::c);
  auto const text = "\x93NUMPY\1\0v\0{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }"s;
  CHECK(head == text + std::string(127 - text.size(), ' ') + "\n");
  CHECK(head.size() == 128);
}

TEST_CASE("npy: data begins at a multiple of 64, for any length of the header", "[array]") {
  for (std::size_t length = 0; length < 200; ++length) {
    CHECK(wrap_npy_dict(std::string(length, 'x')).size() % 64 == 0);
  }
}

TEST_CASE("npy: a header too long for version 1.0 is written as 2.0", "[array]") {
  // 65 536 bytes less magic, version, length and the final newline.
  auto const longest = wrap_npy_dict(std::string(65000, 'x'));
  CHECK(longest[6] == 1);
  auto const longer = wrap_npy_dict(std::string(65536, 'x'));
  CHECK(longer[6] == 2);
  CHECK(longer.size() % 64 == 0);
  CHECK(static_cast<unsigned char>(longer[8]) + 256U * static_cast<unsigned char>(longer[9]) +
            65536U * static_cast<unsigned char>(longer[10]) + 12U ==
        longer.size());
}

TEST_CASE("npy: the keys of the dict may have any order, each once", "[array]") {
  auto const found =
      parse_npy_dict("{'shape': (2, 3), 'fortran_order': True, \"descr\": \"<i4\"}\n", "a.npy");
  CHECK(found.dims == fm::shape{2, 3});
  CHECK(found.layout == fm::order::fortran);
  CHECK(found.type == dtype_of<int>());
  CHECK_THROWS_WITH(parse_npy_dict("{'descr': '<f8', 'descr': '<f8'}", "a.npy"),
                    ContainsSubstring("a.npy") && ContainsSubstring("'descr' occurs twice"));
  CHECK_THROWS_WITH(parse_npy_dict("{'descr': '<f8', 'shape': ()}", "a.npy"),
                    ContainsSubstring("'fortran_order' is missing"));
  CHECK_THROWS_WITH(parse_npy_dict("{'x': 1}", "a.npy"), ContainsSubstring("unknown key 'x'"));
}

TEST_CASE("npy: errors quote text of the file escaped and shortened", "[array]") {
  CHECK(in_quotes("a\x1b[31m\n") == "'a\\x1b[31m\\x0a'");
  CHECK(in_quotes(std::string(1000, 'a')).size() < 60);
}

TEST_CASE("npy: a header with characters outside Latin-1 is written as 3.0", "[array]") {
  auto const version = [](std::string const& name) {
    return int{npy_head({{'V', '|', 8}, {{name, 0, dtype_of<double>(), fm::shape::scalar(), {}}}},
                        fm::shape{1}, fm::order::c)[6]};
  };
  CHECK(version("x") == 1);
  CHECK(version("\u00e9") == 1);
  CHECK(version("\u4e2d") == 3);
}
