// Every kind of .npy file: written by NumPy and read here, then written here and read by NumPy.
// SPDX-License-Identifier: MIT
#include <array>
#include <complex>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <forkmap/dump.hpp>
#include <forkmap/field_names.hpp>
#include <forkmap/fixed_string.hpp>
#include <forkmap/half.hpp>
#include <forkmap/inspect.hpp>
#include <forkmap/load.hpp>

#include "counted.hpp"
#include "support/catch.hpp"
#include "support/python.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;

namespace {

struct pair {
  float u;
  std::int8_t k;
};
// The layout of np.dtype(..., align=True).
struct record {
  double x;
  std::int32_t id;
  std::array<std::array<std::int16_t, 2>, 2> n;
  fm::fixed_string<5> name;
  bool ok;
  std::array<pair, 2> in;
};

std::string part(std::string const& name, std::size_t which) {
  std::size_t from = 0;
  for (; which > 0; --which) from = name.find('-', from) + 1;
  return name.substr(from, name.find('-', from) - from);
}

template <class T> void check_scalar(std::filesystem::path const& file, std::string const& name) {
  INFO(name);
  auto const base = file.parent_path() / name;
  auto const copied = fm::load<T>(file, fm::in_memory);
  if (!is_counted<T>(copied)) FAIL("other elements");
  fm::dump(copied, base.native() + ".copied.npy");
  if (part(name, 3) == "foreign") {
    CHECK_THROWS_AS(fm::load<T>(file), fm::dtype_error);
    return;
  }
  auto const mapped = fm::load<T>(file);
  if (!is_counted<T>(mapped)) FAIL("other elements when mapped");
  fm::dump(mapped, base.native() + ".mapped.npy");
}

struct scalar_check {
  template <class T> static void run(std::filesystem::path const& file, std::string const& name) {
    check_scalar<T>(file, name);
  }
};

template <class Array> void check_records(Array const& array) {
  REQUIRE(array.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) {
    auto const k = static_cast<int>(i);
    auto const& r = array[i];
    CHECK(r.x == k + 0.5);
    CHECK(r.id == -k);
    CHECK(r.n[1][0] == k + 2);
    CHECK(r.name == std::to_string(k));
    CHECK(r.ok == (k % 2 == 1));
    CHECK(r.in[1].u == static_cast<float>(k) + 0.25F);
    CHECK(r.in[1].k == -k);
  }
}

}  // namespace

template <>
inline constexpr auto forkmap::field_names<pair> = std::to_array<std::string_view>({"u", "k"});
template <>
inline constexpr auto forkmap::field_names<record> =
    std::to_array<std::string_view>({"x", "id", "n", "name", "ok", "in"});

TEST_CASE("format: every dtype, shape, order and version is read from NumPy and written for it",
          "[array][format][python]") {
  support::temporary_directory const folder;
  support::run_python("npy.py", {"write", folder.path()});

  auto const types = scalar_types<scalar_check>();
  int files = 0;
  int records = 0;
  std::vector<std::filesystem::path> all;
  for (auto const& entry : std::filesystem::directory_iterator(folder.path())) {
    all.push_back(entry.path());
  }
  for (auto const& file : all) {
    auto const name = file.stem().native();
    if (part(name, 0) == "record") {
      INFO(name << ": " << fm::inspect(file).dtype);
      auto const copied = fm::load<record>(file, fm::in_memory);
      check_records(copied);
      fm::dump(copied, (folder.path() / name).native() + ".copied.npy");
      if (part(name, 1) == "aligned") {
        auto const mapped = fm::load<record>(file);
        check_records(mapped);
        fm::dump(mapped, (folder.path() / name).native() + ".mapped.npy");
      } else {
        CHECK_THROWS_WITH(fm::load<record>(file),
                          Catch::Matchers::ContainsSubstring("in_memory) reads them"));
      }
      ++records;
      continue;
    }
    for (auto const& type : types) {
      if (type.name == part(name, 0)) {
        type.run(file, name);
        ++files;
      }
    }
  }
  // 18 dtypes, 8 shapes, 2 orders, 3 versions; 14 dtypes have another byte order.
  CHECK(files == 18 * 8 * 2 * 3 + 14 * 8 * 2);
  CHECK(records == 12);

  auto const checked = std::stoi(support::run_python("npy.py", {"check", folder.path()}));
  CHECK(checked == 2 * 18 * 8 * 2 * 3 + 14 * 8 * 2 + 12 + 3);
}
