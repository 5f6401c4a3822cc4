// Every kind of .npy file: written by NumPy, read here, written here, read by NumPy.
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

#include "support/catch.hpp"
#include "support/python.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;

namespace {

struct pair {
  float u;
  std::int8_t k;
};
// As np.dtype(..., align=True) lays it out.
struct record {
  double x;
  std::int32_t id;
  std::array<std::array<std::int16_t, 2>, 2> n;
  fm::fixed_string<5> name;
  bool ok;
  std::array<pair, 2> in;
};

template <class T> T counted(std::size_t i) {
  auto const k = static_cast<int>(i % 100);
  if constexpr (fm::detail::is_complex<T>) {
    using real = typename T::value_type;
    return T(static_cast<real>(k), static_cast<real>(2 * k));
  } else if constexpr (std::same_as<T, bool>) {
    return k % 2 == 1;
  } else if constexpr (std::same_as<T, fm::half>) {
    return fm::half(static_cast<float>(k));
  } else if constexpr (std::same_as<T, fm::fixed_u32string<5>>) {
    auto const text = std::to_string(k);
    return T(std::u32string(text.begin(), text.end()));
  } else if constexpr (fm::detail::text_length<T> > 0) {
    return T(std::to_string(k));
  } else {
    return static_cast<T>(k);
  }
}

/// The elements in C order of their indices, wherever they lie.
template <class T, class Array> bool is_counted(Array const& array) {
  auto const& dims = array.dims();
  for (std::size_t i = 0; i < array.size(); ++i) {
    std::size_t position = 0;
    std::size_t stride = 1;
    auto rest = i;
    std::array<std::size_t, fm::shape::max_rank> index{};
    for (auto axis = dims.rank(); axis-- > 0;) {
      index[axis] = rest % dims[axis];
      rest /= dims[axis];
    }
    for (std::size_t axis = 0; axis < dims.rank(); ++axis) {
      auto const k = array.layout() == fm::order::fortran ? axis : dims.rank() - 1 - axis;
      position += index[k] * stride;
      stride *= dims[k];
    }
    if (!(array[position] == counted<T>(i))) return false;
  }
  return true;
}

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

using reader = void (*)(std::filesystem::path const&, std::string const&);
struct scalar_type {
  std::string name;
  reader check;
};

}  // namespace

template <>
inline constexpr auto forkmap::field_names<pair> = std::to_array<std::string_view>({"u", "k"});
template <>
inline constexpr auto forkmap::field_names<record> =
    std::to_array<std::string_view>({"x", "id", "n", "name", "ok", "in"});

TEST_CASE("format: every dtype, shape, order and version of NumPy's is read, and read back there",
          "[array][format][python]") {
  support::temporary_directory const folder;
  support::run_python("npy.py", {"write", folder.path()});

  std::vector<scalar_type> const types = {{"b1", check_scalar<bool>},
                                          {"i1", check_scalar<std::int8_t>},
                                          {"i2", check_scalar<std::int16_t>},
                                          {"i4", check_scalar<std::int32_t>},
                                          {"i8", check_scalar<std::int64_t>},
                                          {"u1", check_scalar<std::uint8_t>},
                                          {"u2", check_scalar<std::uint16_t>},
                                          {"u4", check_scalar<std::uint32_t>},
                                          {"u8", check_scalar<std::uint64_t>},
                                          {"f2", check_scalar<fm::half>},
                                          {"f4", check_scalar<float>},
                                          {"f8", check_scalar<double>},
                                          {"f16", check_scalar<long double>},
                                          {"c8", check_scalar<std::complex<float>>},
                                          {"c16", check_scalar<std::complex<double>>},
                                          {"c32", check_scalar<std::complex<long double>>},
                                          {"S3", check_scalar<fm::fixed_string<3>>},
                                          {"U5", check_scalar<fm::fixed_u32string<5>>}};
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
        type.check(file, name);
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
