// Every kind of joblib file: written by joblib and read here, then written here and read and mapped
// by joblib.
// SPDX-License-Identifier: MIT
#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <forkmap/dump_value.hpp>
#include <forkmap/field_names.hpp>
#include <forkmap/fixed_string.hpp>
#include <forkmap/inspect.hpp>
#include <forkmap/load.hpp>
#include <forkmap/load_value.hpp>

#include "counted.hpp"
#include "support/catch.hpp"
#include "support/python.hpp"
#include "support/sanitizers.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

namespace {

struct joblib_pair {
  float u;
  std::int8_t k;
};
struct joblib_record {
  double x;
  std::int32_t id;
  std::array<std::array<std::int16_t, 2>, 2> n;
  fm::fixed_string<5> name;
  bool ok;
  std::array<joblib_pair, 2> in;
};

std::vector<std::string> const protocols = {"2", "3", "4", "5"};

/// The files that are read per dtype: half of them under a sanitizer, which is ten times as slow.
std::vector<std::string> protocols_of(std::string const& dtype) {
  if (!support::shadow_memory) return protocols;
  bool const even = dtype.back() % 2 == 0;
  return {protocols[even ? 0 : 1], protocols[even ? 3 : 2]};
}

/// Checks every array of a file, whatever its name.
/// Returns: the number of arrays.
template <class T> std::size_t check_file(std::filesystem::path const& file) {
  INFO(file.filename());
  std::size_t arrays = 0;
  for (auto const& entry : fm::contents(file)) {
    if (!entry.is_array) continue;
    INFO(entry.name << " " << entry.type);
    ++arrays;
    auto const copied = fm::load<T>(file, entry.name, fm::in_memory);
    CHECK(copied.dims() == entry.dims);
    if (!is_counted<T>(copied)) FAIL("other elements");
    auto const info = fm::inspect(file, entry.name);
    if (info.dtype[0] == '>') {
      CHECK_THROWS_AS(fm::load<T>(file, entry.name), fm::dtype_error);
    } else if (info.offset % alignof(T) == 0) {
      if (!is_counted<T>(fm::load<T>(file, entry.name))) FAIL("other elements when mapped");
    } else {
      CHECK_THROWS_WITH(fm::load<T>(file, entry.name), ContainsSubstring("in_memory"));
    }
  }
  return arrays;
}

struct joblib_check {
  template <class T>
  static void run(std::filesystem::path const& folder, std::string const& dtype) {
    auto const path = [&](std::string const& name) {
      return folder / (dtype + "-" + name + ".joblib");
    };
    constexpr std::size_t n_arrays = 16;  // 8 shapes, 2 orders
    for (auto const& protocol : protocols_of(dtype)) {
      for (std::string const container : {"dict-", "list-", "tuple-"}) {
        CHECK(check_file<T>(path(container + protocol)) == n_arrays);
      }
      auto const nested = path("nested-" + protocol);
      CHECK(check_file<T>(nested) == n_arrays + 2);
      CHECK(fm::load_value<int>(nested, "layers[3].n") == 3);
      CHECK(fm::load<T>(nested, "layers[8].w", fm::in_memory).dims() == fm::shape{2, 3});
      CHECK(fm::load<T>(nested, "['a b']", fm::in_memory).layout() == fm::order::c);
      CHECK(fm::load<T>(nested, "[7][0]", fm::in_memory).layout() == fm::order::fortran);
      CHECK(fm::load_value<std::string>(nested, "[7][1]") == "x");
    }
    CHECK(check_file<T>(path("dict-absent")) == n_arrays);
    CHECK(check_file<T>(path("dict-none")) == n_arrays);
    CHECK(check_file<T>(path("dict-foreign")) == n_arrays);

    // Each array alone, with each protocol; then written back alone, in a dict and in a list.
    auto const original = path("dict-5");
    std::map<std::string, fm::memmap<T const>> full;
    std::vector<fm::owned_array<T>> all;
    for (auto const& entry : fm::contents(original)) {
      for (auto const& protocol : protocols_of(dtype)) {
        CHECK(check_file<T>(path(entry.name + "-" + protocol)) == 1);
      }
      all.push_back(fm::load<T>(original, entry.name, fm::in_memory));
      if (all.back().size() == 0) continue;
      full.emplace(entry.name, fm::load<T>(original, entry.name));
      fm::dump(full.at(entry.name), folder / (dtype + "." + entry.name + ".pkl"));
    }
    fm::dump(full, folder / (dtype + ".full.joblib"));
    fm::dump(all, folder / (dtype + ".list.joblib"));
  }
};

void check_plain(std::filesystem::path const& file) {
  INFO(file.filename());
  using fm::load_value;
  CHECK(load_value<bool>(file, "yes"));
  CHECK_FALSE(load_value<bool>(file, "no"));
  CHECK(load_value<int>(file, "int") == -5);
  CHECK(load_value<long>(file, "long") == 1L << 62);
  CHECK(load_value<std::int64_t>(file, "negative") == std::numeric_limits<std::int64_t>::min());
  CHECK(load_value<std::uint64_t>(file, "natural") == std::numeric_limits<std::uint64_t>::max());
  CHECK(load_value<double>(file, "float") == 0.1);
  CHECK(load_value<std::string>(file, "text") == "h\xc3\xa4llo");
  CHECK(load_value<std::string>(file, "bytes") == std::string("\0\xff", 2));
  CHECK(load_value<std::vector<int>>(file, "ints") == std::vector{1, 2, 300});
  CHECK(load_value<std::vector<float>>(file, "floats") == std::vector{0.5F, 1.F, 2.5F});
  CHECK(load_value<std::vector<std::string>>(file, "texts") ==
        std::vector<std::string>{"a", "b", "\xc3\xbc"});
  CHECK(load_value<std::vector<bool>>(file, "bools") == std::vector{true, false});
  CHECK(load_value<std::string>(file, "mixed[1]") == "x");
  CHECK(load_value<std::vector<int>>(file, "empty").empty());
  CHECK(load_value<double>(file, "numpy") == 2.5);
  CHECK(load_value<float>(file, "single") == 0.5F);
  CHECK(load_value<short>(file, "short") == -3);
  CHECK(load_value<bool>(file, "truth"));
  CHECK(load_value<std::vector<int>>(file, "['a set']") == std::vector{5});
  CHECK(load_value<int>(file, "ordered.k") == 1);
  CHECK(load_value<std::vector<std::string>>(file, "classes") ==
        std::vector<std::string>{"a", "h\xc3\xa4\xf0\x9f\x98\x80", ""});
  CHECK(load_value<std::string>(file, "foreign") ==
        "\xc3\xa4"
        "b");
  CHECK(load_value<std::string>(file, "raw") == std::string("a\0\xff", 3));
  CHECK(load_value<std::string>(file, "key").empty());
  CHECK(fm::inspect(file, "times").dtype == "<M8[ns]");

  std::map<std::string, std::string> types;
  for (auto const& entry : fm::contents(file)) types[entry.name] = entry.type;
  CHECK(types.at("none") == "None");
  CHECK(types.at("huge") == "int");
  CHECK(types.at("bytes") == "bytes");
  CHECK(types.at("ints") == "list of int");
  CHECK(types.at("floats") == "tuple of float");
  CHECK(types.at("texts") == "list of str");
  CHECK(types.at("mixed[2]") == "None");
  CHECK(types.at("empty") == "list");
  CHECK(types.at("['a set']") == "set of int");
  CHECK(types.at("times") == "<M8[ns]");
  CHECK(types.at("classes") == "list of str");
  CHECK_THROWS_WITH(load_value<int>(file, "huge"),
                    ContainsSubstring("an int of more than 64 bits"));
  CHECK_THROWS_WITH(load_value<int>(file, "none"), ContainsSubstring("None, which is not a"));
}

}  // namespace

template <>
inline constexpr auto forkmap::field_names<joblib_pair> =
    std::to_array<std::string_view>({"u", "k"});
template <>
inline constexpr auto forkmap::field_names<joblib_record> =
    std::to_array<std::string_view>({"x", "id", "n", "name", "ok", "in"});

TEST_CASE(
    "format: every dtype, shape, order, protocol and container of joblib's is read, and mapped "
    "there",
    "[array][format][python]") {
  support::temporary_directory const folder;
  support::run_python("joblib_files.py", {"write", folder.path()});
  for (auto const& type : scalar_types<joblib_check>()) {
    INFO(type.name);
    type.run(folder.path(), type.name);
  }
  for (auto const& protocol : protocols) {
    check_plain(folder.path() / ("plain-" + protocol + ".joblib"));
    auto const twice = folder.path() / ("twice-" + protocol + ".joblib");
    CHECK(fm::load<double>(twice, "[0]")[2] == 2.0);
    CHECK(fm::load<double>(twice, "[1]")[2] == 2.0);
    for (std::string const layout : {"packed", "aligned", "foreign", "reordered"}) {
      INFO(layout);
      auto const file = folder.path() / ("record-" + layout + "-" + protocol + ".joblib");
      auto const records = fm::load<joblib_record>(file, "records", fm::in_memory);
      CHECK(fm::contents(file)[0].type == fm::inspect(file, "records").dtype);
      CHECK(records[3].id == -3);
      CHECK(records[3].n[1][0] == 5);
      CHECK(records[3].name == "3");
      CHECK(records[3].in[1].u == 3.25F);
      if (layout == "aligned") {
        auto const mapped = fm::load<joblib_record>(file);
        CHECK(mapped[4].x == 4.5);
        fm::dump(std::map<std::string, fm::memmap<joblib_record const>>{{"records", mapped}},
                 folder.path() / "records.joblib");
      }
    }
  }
  // One long record type, which the file holds once. Its description is not repeated for every
  // array.
  auto const wide = fm::contents(folder.path() / "wide.joblib");
  REQUIRE(wide.size() == 40);
  CHECK(wide.front().type == fm::inspect(folder.path() / "wide.joblib", "[0]").dtype);
  CHECK(wide.back().type == "|V16000");
  std::map<std::string, std::vector<double>> const weights{{"w", std::vector<double>(10000, 1.5)}};
  for (std::string const method : {"zlib", "gzip", "bz2", "xz", "lzma"}) {
    fm::dump(weights, folder.path() / ("packed-" + method + ".joblib"), {.compress = method});
  }
  auto const checked = std::stoi(support::run_python("joblib_files.py", {"check", folder.path()}));
  // 18 dtypes: 12 full arrays in a dict and alone, mapped in 3 ways and not; 16 in a list.
  CHECK(checked == 18 * (12 * 2 * 4 + 16) + 2 + 5);
}
