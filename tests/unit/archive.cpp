// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <list>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

#include <forkmap/archive.hpp>
#include <forkmap/fixed_string.hpp>
#include <forkmap/named.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

static_assert(std::is_nothrow_move_constructible_v<fm::archive>);
static_assert(!std::is_copy_constructible_v<fm::archive>);

namespace {

std::size_t open_descriptors() {
  return static_cast<std::size_t>(std::distance(
      std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator()));
}

}  // namespace

TEST_CASE("named: arrays of one file are loaded by name and mapped without a copy", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "m.npz";
  std::vector<double> const a{1, 2, 3};
  std::list<int> const b{4, 5};
  CHECK(fm::dump(fm::named("a", a, std::string("b"), b, "deep/c", std::vector<bool>{true}), file) ==
        file);

  auto const mapped = fm::load<double>(file, "a");
  CHECK(std::vector(mapped.begin(), mapped.end()) == a);
  CHECK(mapped.offset() % 64 == 0);
  CHECK(mapped.path() == file);
  CHECK(fm::load<double>(file, "a.npy")[0] == 1);
  CHECK(fm::load<int>(file, "b", fm::in_memory)[1] == 5);
  CHECK(fm::load<bool>(file, "deep/c")[0]);
  auto const own = fm::load<double>(file, "a", fm::copy_on_write);
  own[0] = 10;
  CHECK(mapped[0] == 1);

  CHECK_THROWS_AS(fm::load<double>(file, "d"), fm::format_error);
  CHECK_THROWS_WITH(fm::load<double>(file, "d"), ContainsSubstring("no array is called 'd'") &&
                                                     ContainsSubstring("'a', 'b', 'deep/c'"));
  CHECK_THROWS_WITH(fm::load<double>(file), ContainsSubstring("3 arrays; give the name of one"));
  CHECK_THROWS_AS(fm::load<float>(file, "a"), fm::dtype_error);
  CHECK_THROWS_WITH(fm::inspect(file, ""), ContainsSubstring("3 arrays"));
  CHECK(fm::inspect(file, "a").format == "npz");
}

TEST_CASE("named: arrays in an archive cannot be opened read_write", "[array]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1, 2}, folder.path() / "m.npz");
  auto const before = support::file_bytes(file);
  CHECK_THROWS_AS(fm::load<int>(file, fm::read_write), fm::format_error);
  CHECK_THROWS_WITH(fm::load<int>(file, "arr_0", fm::read_write),
                    ContainsSubstring("checksum") && ContainsSubstring("copy_on_write maps it"));
  CHECK(support::file_bytes(file) == before);
}

TEST_CASE("dump: a single array in an .npz file is named arr_0 and loads without a name",
          "[array]") {
  support::temporary_directory const folder;
  for (auto const* compress : {"", "zlib", "deflate", "zlib:1"}) {
    INFO(compress);
    auto const file = fm::dump(std::vector{1.5, 2.5, 3.5, 4.5}, folder.path() / "m.npz",
                               {.dims = {2, 2}, .compress = compress});
    auto const array = fm::load<double>(file, fm::in_memory);
    CHECK(array.dims() == fm::shape{2, 2});
    CHECK(array(1, 0) == 3.5);
    CHECK(fm::load<double>(file, "arr_0", fm::in_memory)[3] == 4.5);
    CHECK(fm::archive(file).names() == std::vector<std::string>{"arr_0"});
    auto const info = fm::inspect(file);
    CHECK(info.compress == (*compress == '\0' ? "" : "deflate"));
    if (*compress == '\0') {
      CHECK(fm::load<double>(file)(1, 1) == 4.5);
    } else {
      CHECK_THROWS_AS(fm::load<double>(file), fm::format_error);
      CHECK_THROWS_WITH(fm::load<double>(file, fm::copy_on_write),
                        ContainsSubstring("compressed (deflate)") &&
                            ContainsSubstring("load(file, in_memory) reads it"));
    }
  }
}

TEST_CASE("load: elements larger than the first block read of a compressed file", "[array]") {
  support::temporary_directory const folder;
  using large = fm::fixed_string<6'000'000>;
  std::vector<large> array(3);
  array[2] = large(std::string(5'999'999, 'x'));
  auto const file = fm::dump(array, folder.path() / "m.npz", {.compress = "zlib:1"});
  auto const loaded = fm::load<large>(file, fm::in_memory);
  REQUIRE(loaded.size() == 3);
  CHECK(loaded[0].size() == 0);
  CHECK(loaded[2].size() == 5'999'999);
}

TEST_CASE("dump: refuses compress if the format has no compression, and names formats that do",
          "[array]") {
  support::temporary_directory const folder;
  auto const dump = [&](char const* name, char const* compress) {
    fm::dump(std::vector{1}, folder.path() / name, {.compress = compress});
  };
  CHECK_THROWS_AS(dump("a.npy", "zlib"), std::invalid_argument);
  CHECK_THROWS_WITH(dump("a.npy", "zlib"), ContainsSubstring((folder.path() / "a.npy").native()) &&
                                               ContainsSubstring(".npz and .joblib files can be"));
  CHECK_THROWS_WITH(dump("a.npz", "xz"), ContainsSubstring("\"zlib\", which NumPy reads"));
  CHECK_THROWS_WITH(dump("a.npz", "zip"), ContainsSubstring("unknown method"));
  CHECK_THROWS_WITH(fm::dump(fm::named("a", std::vector{1}), folder.path() / "a.npy"),
                    ContainsSubstring("an .npy file holds one array; .npz holds several"));
  CHECK_THROWS_AS(
      fm::dump(fm::named("a", std::vector{1}), folder.path() / "a.npz", {.dims = {1, 1}}),
      std::invalid_argument);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("named: refuses invalid names", "[array]") {
  std::vector<int> const x{1};
  CHECK_THROWS_AS(fm::named("", x), std::invalid_argument);
  CHECK_THROWS_WITH(fm::named("a", x, "b", x, "a", x),
                    "forkmap: named: the name 'a' of an array occurs twice");
  for (auto const* bad : {"/etc/passwd", "../a", "a/..", "a\\b", "\xff"}) {
    INFO(bad);
    CHECK_THROWS_AS(fm::named("a", x, bad, x), std::invalid_argument);
  }
  CHECK_THROWS_AS(fm::named(std::string("a\0b", 3), x), std::invalid_argument);
}

TEST_CASE("archive: loads many arrays with one descriptor, and closes it", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "m.npz";
  fm::dump(fm::named("a", std::vector{1.0, 2.0}, "b", std::vector{3}), file);
  auto const before = open_descriptors();
  fm::memmap<double const> kept;
  {
    fm::archive opened(file);
    auto const archive = std::move(opened);
    CHECK(open_descriptors() == before + 1);
    CHECK(archive.path() == file);
    CHECK(archive.names() == std::vector<std::string>{"a", "b"});
    CHECK(archive.contains("b"));
    CHECK_FALSE(archive.contains("c"));
    CHECK_FALSE(archive.contains(""));
    kept = archive.load<double>("a");
    auto const own = archive.load<int>("b", fm::copy_on_write);
    own[0] = 4;
    CHECK(archive.load<int>("b", fm::in_memory)[0] == 3);
    CHECK(archive.inspect("b").dtype == "<i4");
    CHECK_THROWS_AS(archive.load<float>("a"), fm::dtype_error);
    CHECK_THROWS_AS(archive.load<double>("c"), fm::format_error);
    CHECK_THROWS_AS(archive.load<double>("a", fm::read_write), fm::format_error);
    CHECK(open_descriptors() == before + 1);
  }
  CHECK(open_descriptors() == before);
  CHECK(kept[1] == 2.0);
}

TEST_CASE("archive: an .npy file is a single array without a name", "[array]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1, 2}, folder.path() / "a.npy");
  fm::archive const archive(file);
  CHECK(archive.names() == std::vector<std::string>{""});
  CHECK(archive.contains(""));
  auto const shared = archive.load<int>("", fm::read_write);
  shared[1] = 7;
  CHECK(archive.load<int>()[1] == 7);
  CHECK_THROWS_WITH(archive.load<int>("x"), ContainsSubstring("one array without a name"));
}

TEST_CASE("archive: a file that has been replaced is not opened for writing", "[array]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1, 2}, folder.path() / "a.npy");
  fm::archive const archive(file);
  fm::dump(std::vector{3, 4}, file);
  try {
    archive.load<int>("", fm::read_write);
    FAIL("the replacement was opened as if it were the old file");
  } catch (std::system_error const& error) {
    CHECK(error.code().value() == ESTALE);
    CHECK_THAT(error.what(),
               ContainsSubstring(file.native() + " for writing: another file has replaced it"));
  }
  CHECK(fm::load<int>(file)[0] == 3);
}

TEST_CASE("archive: an open archive keeps its content when the file is replaced", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "m.npz";
  fm::dump(fm::named("a", std::vector{1}), file);
  fm::archive const archive(file);
  fm::dump(fm::named("b", std::vector{2}), file);
  CHECK(archive.load<int>("a")[0] == 1);
  CHECK(fm::load<int>(file, "b")[0] == 2);
}

TEST_CASE("archive: ten thousand arrays are loaded with one read of the directory", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "m.npz";
  constexpr std::size_t count = 10'000;
  // Same as named() with ten thousand names.
  std::vector<std::shared_ptr<fm::detail::array_content const>> contents;
  std::vector<std::vector<int>> arrays;
  fm::detail::content_value all;
  all.what = fm::detail::content_value::kind::dict;
  for (std::size_t i = 0; i < count; ++i) arrays.push_back({static_cast<int>(i)});
  for (std::size_t i = 0; i < count; ++i) {
    contents.push_back(fm::detail::make_content(arrays[i], file, {}));
    all.keys.push_back("array_" + std::to_string(i));
    all.items.push_back(fm::detail::array_value(*contents.back()));
  }
  fm::detail::dump_content(file, all, {});

  auto const before = open_descriptors();
  fm::archive const archive(file);
  REQUIRE(archive.names().size() == count);
  std::vector<fm::memmap<int const>> loaded;
  for (auto const& name : archive.names()) loaded.push_back(archive.load<int>(name));
  bool same = true;
  for (std::size_t i = 0; i < count; ++i) same = same && loaded[i][0] == static_cast<int>(i);
  CHECK(same);
  CHECK(open_descriptors() == before + 1);
}
