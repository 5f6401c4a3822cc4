// .npz archives and compressed files when a system call fails, for each call in turn. The error
// names the file, an old file is unchanged, and no temporary file is left.
// SPDX-License-Identifier: MIT
#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "fail_each.hpp"
#include "injection.hpp"
#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using fault::fail_each;
using fault::function;

TEST_CASE("fault: dump of an archive keeps the old file, whichever system call fails", "[fault]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "m.npz";
  fm::dump(std::vector{1, 2, 3}, file);
  auto const before = support::file_bytes(file);
  std::vector<int> large(50'000);
  // Data that does not compress well, so that it exceeds the buffer of the sink.
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<int>(i * i * i % 1'000'003);
  struct {
    function f;
    int code;
  } const all[] = {{function::fallocate, ENOSPC}, {function::writev, ENOSPC},
                   {function::writev, EIO},       {function::pwrite, ENOSPC},
                   {function::pwrite, EIO},       {function::fsync, EIO},
                   {function::rename, EPERM}};
  for (auto const* compress : {"", "zlib"}) {
    for (auto const& fault_case : all) {
      int failed = 0;
      for (int nth = 1;; ++nth) {
        support::write_bytes(file, before);
        fault::arm(fault_case.f, nth, fault_case.code);
        std::string message;
        try {
          fm::dump(fm::named("a", large, "b", std::vector{1.5}), file,
                   {.sync = true, .compress = compress});
        } catch (std::system_error const& e) {
          message = e.what();
        }
        if (!fault::disarm()) break;
        ++failed;
        INFO(fault::name_of(fault_case.f)
             << ", call " << nth << ", compress \"" << compress << '"');
        REQUIRE(support::names_in(folder.path()) == 1);
        // The second fsync is that of the folder, after the rename.
        bool const renamed = nth == 2 && fault_case.f == function::fsync;
        REQUIRE((support::file_bytes(file) == before) == !renamed);
        REQUIRE(message.find(folder.path().native()) != std::string::npos);
      }
      INFO(fault::name_of(fault_case.f) << ", compress \"" << compress << '"');
      // The size of a compressed file is not known in advance, so no space is reserved.
      REQUIRE((failed > 0) == (fault_case.f != function::fallocate || *compress == '\0'));
    }
  }
}

TEST_CASE("fault: load from an archive names the file, whichever system call fails", "[fault]") {
  support::temporary_directory const folder;
  std::vector<int> const large(50'000, 7);
  for (auto const* compress : {"", "zlib"}) {
    auto const file = fm::dump(fm::named("a", large, "b", large), folder.path() / "m.npz",
                               {.compress = compress});
    auto const open = [&] { fm::archive const archive(file); };
    auto const copy = [&] { fm::load<int>(file, "b", fm::in_memory); };
    REQUIRE(fail_each(function::open, EMFILE, "m.npz", open) == 1);
    REQUIRE(fail_each(function::fstat, EIO, "m.npz", open) == 1);
    // One read each of the begin, the end and the directory.
    REQUIRE(fail_each(function::pread, EIO, "m.npz", open) == 3);
    // Also reads of the member's header and its data.
    REQUIRE(fail_each(function::pread, EIO, "m.npz", copy) >= 5);
    if (*compress != '\0') continue;
    auto const map = [&] { fm::load<int>(file, "b"); };
    REQUIRE(fail_each(function::pread, EIO, "m.npz", map) == 4);
    REQUIRE(fail_each(function::mmap, ENOMEM, "m.npz", map) == 1);
  }
}

TEST_CASE("fault: the error of reading a compressed file names the file", "[fault]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy.gz";
  // An .npy file, compressed with gzip.
  auto const plain =
      support::file_bytes(fm::dump(std::vector<double>(30'000, 0.5), folder.path() / "a.npy"));
  std::string compressed;
  struct string_sink final : fm::detail::byte_sink {
    explicit string_sink(std::string& to) : out(&to) {}
    void reserve(std::size_t /*bytes*/) override {}
    void write(std::string_view bytes) override { *out += bytes; }
    void rewrite(std::size_t /*at*/, std::string_view /*bytes*/) override {}
    std::size_t position() const override { return out->size(); }
    std::string* out;
  } to(compressed);
  fm::detail::compressed_sink sink(to, {fm::detail::compression::gzip, 0});
  sink.write(plain);
  sink.finish();
  support::write_bytes(file, compressed);
  auto const copy = [&] { fm::load<double>(file, fm::in_memory); };
  CHECK_NOTHROW(copy());
  CHECK(fail_each(function::pread, EIO, "a.npy.gz", copy) >= 5);
}
