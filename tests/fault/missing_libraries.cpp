// Compression libraries that cannot be opened: the error names the library and its Debian package.
// A process keeps a library open once it was found, so these tests must be the first to use it.
// SPDX-License-Identifier: MIT
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "injection.hpp"
#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/refusal.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;
using fault::function;

namespace {

class null_sink final : public fm::detail::byte_sink {
 public:
  void reserve(std::size_t /*bytes*/) override {}
  void write(std::string_view /*bytes*/) override {}
  void rewrite(std::size_t /*at*/, std::string_view /*bytes*/) override {}
  std::size_t position() const override { return 0; }
};

}  // namespace

TEST_CASE("fault: a compression library that cannot be opened is named with its package",
          "[fault]") {
  support::temporary_directory const folder;
  auto const file =
      support::write_bytes(folder.path() / "a.npy.xz", std::string("\xfd\x37zXZ\0\0\4", 8));
  std::string message;
  fault::arm(function::dlopen, 1, ENOENT);
  try {
    fm::load<double>(file, fm::in_memory);
  } catch (fm::format_error const& error) {
    message = error.what();
  }
  REQUIRE(fault::disarm());
  CHECK(message ==
        "forkmap: " + file.native() +
            ": the file is compressed (xz), but liblzma.so.5 was not found "
            "(Debian package: liblzma5)");
  // The library may be installed while the program runs.
  CHECK_THROWS_WITH(fm::load<double>(file, fm::in_memory), ContainsSubstring("xz-compressed data"));

  null_sink out;
  fault::arm(function::dlopen, 1, ENOENT);
  try {
    fm::detail::compressed_sink const sink(out, {fm::detail::compression::lz4, -1});
  } catch (fm::detail::missing_library const& error) {
    message = error.what();
  }
  REQUIRE(fault::disarm());
  CHECK(message == "liblz4.so.1 was not found (Debian package: liblz4-1)");
}

TEST_CASE("fault: if a library is missing, dump keeps the old file, and load names the library",
          "[fault]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(7, folder.path() / "a.joblib");
  auto const before = support::file_bytes(file);
  fault::arm(function::dlopen, 1, ENOENT);
  try {
    fm::dump(std::tuple(std::vector(1000, 1)), file, {.compress = "lz4"});
    FAIL("nothing was thrown");
  } catch (std::system_error const& error) {
    CHECK(error.code() == std::error_code(ELIBACC, std::system_category()));
    CHECK_THAT(error.what(),
               ContainsSubstring("dump " + file.native() + ": liblz4.so.1 was not found"));
  }
  REQUIRE(fault::disarm());
  CHECK(support::file_bytes(file) == before);
  CHECK(support::names_in(folder.path()) == 1);

  auto const archive =
      std::filesystem::path(FORKMAP_TEST_DIR) / "format/fuzz/corpus_npz/good_deflated";
  fault::arm(function::dlopen, 1, ENOENT);
  CHECK_THAT(support::refusal([&] { fm::load<double>(archive, "a", fm::in_memory); }),
             ContainsSubstring(archive.native()) && ContainsSubstring("package: zlib1g)"));
  REQUIRE(fault::disarm());
}
