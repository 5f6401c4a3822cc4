// .npz archives and compressed files of NumPy, joblib and other tools, and malicious ones.
// SPDX-License-Identifier: MIT
#include <complex>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <forkmap/archive.hpp>
#include <forkmap/fixed_string.hpp>
#include <forkmap/half.hpp>
#include <forkmap/load_value.hpp>
#include <forkmap/named.hpp>

#include "counted.hpp"
#include "fuzz/fuzzing.hpp"
#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/python.hpp"
#include "support/refusal.hpp"
#include "support/sanitizers.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

namespace {

std::vector<std::filesystem::path> files_of(char const* folder) {
  std::vector<std::filesystem::path> result;
  auto const path = std::filesystem::path(FORKMAP_TEST_DIR) / "format/fuzz" / folder;
  for (auto const& entry : std::filesystem::directory_iterator(path)) {
    result.push_back(entry.path());
  }
  return result;
}

int replay(fuzzing::function* target, char const* folder) {
  int files = 0;
  for (auto const& file : files_of(folder)) {
    INFO(file.filename());
    auto const bytes = support::file_bytes(file);
    CHECK(target(reinterpret_cast<std::uint8_t const*>(bytes.data()), bytes.size()) == 0);
    ++files;
  }
  return files;
}

/// Reads the arrays of an archive one after another, and collects the arrays to write back.
class copier {
 public:
  explicit copier(std::filesystem::path const& file) : file_(file), archive_(file) {
    all_.what = fm::detail::content_value::kind::dict;
  }

  std::vector<std::string> const& names() const { return archive_.names(); }

  template <class T> bool copy(std::string const& name) {
    auto array = archive_.load<T>(name, fm::in_memory);
    bool const same = is_counted<T>(array);
    if (name.ends_with("-foreign")) return same;
    auto const kept = std::make_shared<fm::owned_array<T>>(std::move(array));
    arrays_.push_back(kept);
    contents_.push_back(fm::detail::make_content(*kept, file_, {}));
    all_.keys.push_back(name);
    all_.items.push_back(fm::detail::array_value(*contents_.back()));
    return same;
  }

  void write(std::filesystem::path const& to, std::string const& compress) const {
    fm::dump_options options;
    options.compress = compress;
    fm::detail::dump_content(to, all_, options);
  }

 private:
  std::filesystem::path file_;
  fm::archive archive_;
  std::vector<std::shared_ptr<void const>> arrays_{};
  std::vector<std::shared_ptr<fm::detail::array_content const>> contents_{};
  fm::detail::content_value all_{};
};

using copying = bool (copier::*)(std::string const&);
struct known_type {
  std::string name;
  copying copy;
};

std::vector<known_type> const& types() {
  static std::vector<known_type> const all = {
      {"b1", &copier::copy<bool>},
      {"i1", &copier::copy<std::int8_t>},
      {"i2", &copier::copy<std::int16_t>},
      {"i4", &copier::copy<std::int32_t>},
      {"i8", &copier::copy<std::int64_t>},
      {"u1", &copier::copy<std::uint8_t>},
      {"u2", &copier::copy<std::uint16_t>},
      {"u4", &copier::copy<std::uint32_t>},
      {"u8", &copier::copy<std::uint64_t>},
      {"f2", &copier::copy<fm::half>},
      {"f4", &copier::copy<float>},
      {"f8", &copier::copy<double>},
      {"f16", &copier::copy<long double>},
      {"c8", &copier::copy<std::complex<float>>},
      {"c16", &copier::copy<std::complex<double>>},
      {"c32", &copier::copy<std::complex<long double>>},
      {"S3", &copier::copy<fm::fixed_string<3>>},
      {"U5", &copier::copy<fm::fixed_u32string<5>>},
  };
  return all;
}

/// Reads an archive of arrays() in npz.py. Returns: the number of arrays.
int copy_all(copier& from) {
  int copied = 0;
  for (auto const& name : from.names()) {
    for (auto const& type : types()) {
      if (type.name != name.substr(0, name.find('-'))) continue;
      INFO(name);
      CHECK((from.*type.copy)(name));
      ++copied;
    }
  }
  return copied;
}

}  // namespace

TEST_CASE("format: the corpora of .npz and compressed files are read or refused",
          "[array][format]") {
  CHECK(replay(fuzz_npz, "corpus_npz") > 90);
  CHECK(replay(fuzz_packed, "corpus_packed") > 80);
}

TEST_CASE("format: good archives open, and the errors of bad ones name the reason",
          "[array][format]") {
  for (auto const& file : files_of("corpus_npz")) {
    auto const name = file.filename().native();
    INFO(name);
    auto const read = [&](auto mode) {
      fm::archive const archive(file);
      // All arrays, or a requested name if there is no array.
      if (archive.names().empty()) fm::load<double>(file, "a", mode);
      for (auto const& each : archive.names()) {
        if (archive.inspect(each).dtype == "<f8") archive.load<double>(each, mode);
      }
    };
    auto const copying = support::refusal([&] { read(fm::in_memory); });
    if (name == "good_empty") {
      CHECK_THAT(copying, ContainsSubstring("no array is called 'a'; the archive holds no arrays"));
    } else if (name.starts_with("good_")) {
      CHECK(copying == "");
    } else if (name.starts_with("bad_")) {
      CHECK_THAT(copying, ContainsSubstring(file.native()));
      CHECK(copying.size() < file.native().size() + 250);
    }
    // Mapping does not check the checksum, but the mapped data lies inside the file.
    support::refusal([&] { read(fm::read_only); });
  }
}

TEST_CASE("format: errors name what is wrong with an archive", "[array][format]") {
  auto const folder = std::filesystem::path(FORKMAP_TEST_DIR) / "format/fuzz/corpus_npz";
  struct {
    char const* file;
    char const* text;
  } const all[] = {
      {"bad_cut_1", "the archive has no end"},
      {"bad_after", "the archive has no end"},
      {"bad_before", "the central directory is not where it should be"},
      {"bad_two_ends", "two ends of central directory"},
      {"bad_disk", "split into several files"},
      {"bad_twice", "two members are called 'a.npy'"},
      {"bad_same_place", "overlaps"},
      {"bad_overlap", "member 'a.npy' overlaps 'b.npy'"},
      {"bad_overlap_directory", "overlaps the central directory"},
      {"bad_name_zero", "zero byte"},
      {"bad_encrypted", "encrypted"},
      {"bad_strongly_encrypted", "encrypted"},
      {"bad_method_bzip2", "method bzip2"},
      {"bad_method_unknown", "method number 77"},
      {"bad_local_name", "do not agree"},
      {"bad_local_crc", "do not agree"},
      {"bad_crc_stored", "checksum (CRC-32) is wrong"},
      {"bad_crc_deflated", "checksum (CRC-32) is wrong"},
      {"bad_deflated_ratio", "2147483648 bytes of data"},
      {"bad_deflated_after", "bytes after its end"},
      {"bad_no_array", "(member 'a.npy')"},
      {"bad_only_other", "no array is called 'a'"},
      {"bad_claims", "more than the"},
      {"bad_objects", "Python objects"},
  };
  for (auto const& each : all) {
    INFO(each.file);
    CHECK_THAT(support::refusal([&] { fm::load<double>(folder / each.file, "a", fm::in_memory); }),
               ContainsSubstring(each.text));
  }
  CHECK_THROWS_WITH(fm::load<double>(folder / "good_other_member", "notes.txt"),
                    ContainsSubstring("not an array") && ContainsSubstring("'no array'") &&
                        ContainsSubstring("(member 'notes.txt')"));
  CHECK(fm::load<double>(folder / "good_other_member", fm::in_memory)[2] == 2);
  // The data of a mapped array is not checked.
  CHECK(fm::inspect(folder / "bad_crc_stored", "a").dtype == "<f8");
}

TEST_CASE("format: compressed files of the corpus open, or their errors name the reason",
          "[array][format]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a";
  for (auto const& source : files_of("corpus_packed")) {
    auto const name = source.filename().native();
    if (!name.starts_with("good_") && !name.starts_with("bad_")) continue;
    INFO(name);
    support::write_bytes(file, std::string_view(support::file_bytes(source)).substr(1));
    auto const copying = support::refusal([&] {
      auto const array = fm::load<double>(file, fm::in_memory);
      CHECK(array.size() == 50);
      CHECK(array[49] == 49);
    });
    auto const mapping = support::refusal([&] { fm::load<double>(file); });
    if (name.starts_with("good_")) {
      CHECK(copying == "");
      CHECK_THAT(mapping, ContainsSubstring("compressed (") &&
                              ContainsSubstring("load(file, in_memory) reads it"));
      CHECK(name.ends_with(fm::inspect(file).compress));
      CHECK(fm::inspect(file).offset == 128);
    } else {
      CHECK_THAT(copying, ContainsSubstring(file.native()));
      CHECK(copying.size() < file.native().size() + 250);
    }
  }
}

TEST_CASE("format: archives of every dtype, shape and order are read from NumPy and written for it",
          "[array][format][python]") {
  support::temporary_directory const folder;
  auto const path = folder.path();
  support::run_python("npz.py", {"archives", path});

  copier stored(path / "stored.npz");
  copier deflated(path / "deflated.npz");
  // 18 dtypes, 8 shapes, 2 orders; 14 dtypes have another byte order.
  constexpr int all = 18 * 8 * 2 + 14 * 8 * 2;
  CHECK(copy_all(stored) == all);
  CHECK(copy_all(deflated) == all);
  stored.write(path / "copied.npz", "");
  deflated.write(path / "packed.npz", "zlib:9");
  fm::archive const copied(path / "copied.npz");
  for (auto const& name : copied.names()) REQUIRE(copied.inspect(name).offset % 64 == 0);
  CHECK(copied.load<double>("f8-2x3x4-C")(1, 2, 3) == 23);
  CHECK(copied.load<double>("f8-2x3x4-F")(1, 2, 3) == 23);

  CHECK(fm::load<double>(path / "numbered.npz", "arr_1", fm::in_memory)[3] == 3);
  CHECK(fm::load<double>(path / "\u00e4.npz", "\u00e4/\u03b2", fm::in_memory)[4] == 4);
  auto const listed = fm::contents(path / "objects.npz");
  REQUIRE(listed.size() == 2);
  CHECK((listed[1].name == "o" && listed[1].type == "|O" && listed[1].dims == fm::shape{2}));
  CHECK_THAT(support::refusal([&] { fm::inspect(path / "objects.npz", "o"); }),
             ContainsSubstring("never reads them, because a pickle can run code"));
  CHECK_THAT(support::refusal([&] { fm::contents(path / "bzip2.npz"); }),
             ContainsSubstring("(member 'a.npy')"));
  CHECK_THAT(support::refusal([&] { fm::load<double>(path / "bzip2.npz", "a"); }),
             ContainsSubstring("method bzip2"));

  CHECK(std::stoi(support::run_python("npz.py", {"check", path})) == all);
}

TEST_CASE("format: NumPy reads archives of more members than fit in 16 bits",
          "[array][format][python]") {
  if (support::shadow_memory) return;  // takes seconds; the zip64 test of zip.cpp is skipped too
  support::temporary_directory const folder;
  auto const path = folder.path();
  std::vector<std::int32_t> numbers(66'000);
  fm::detail::content_value many;
  many.what = fm::detail::content_value::kind::dict;
  std::vector<std::shared_ptr<fm::detail::array_content const>> contents;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = static_cast<std::int32_t>(i);
    contents.push_back(fm::detail::make_content(std::span(numbers).subspan(i, 1), path, {}));
    many.keys.push_back("n/" + std::to_string(i));
    many.items.push_back(fm::detail::array_value(*contents.back()));
  }
  fm::detail::dump_content(path / "many.npz", many, {});
  CHECK(fm::load<std::int32_t>(path / "many.npz", "n/65999")[0] == 65'999);
  support::run_python("npz.py", {"check_many", path});
}

TEST_CASE("format: compressed .npy files are read into memory", "[array][format][python]") {
  support::temporary_directory const folder;
  support::run_python("npz.py", {"large", folder.path()});
  for (auto const* extension : {"gz", "bz2", "xz", "lzma", "zlib"}) {
    INFO(extension);
    auto const file = folder.path() / (std::string("large.npy.") + extension);
    auto const array = fm::load<double>(file, fm::in_memory);
    REQUIRE(array.dims() == fm::shape{500, 600});
    CHECK(array(499, 599) == 299'999);
    CHECK(array(1, 0) == 600);
    CHECK_THROWS_AS(fm::load<double>(file), fm::format_error);
    CHECK_THROWS_AS(fm::load<float>(file, fm::in_memory), fm::dtype_error);
    // A stream without its last byte is refused.
    auto bytes = support::file_bytes(file);
    bytes.pop_back();
    support::write_bytes(file, bytes);
    CHECK_THROWS_AS(fm::load<double>(file, fm::in_memory), fm::format_error);
  }
}

TEST_CASE("format: files that joblib compressed decompress to the uncompressed files",
          "[array][format][python]") {
  support::temporary_directory const folder;
  support::run_python("npz.py", {"joblib", folder.path()});
  auto const plain = support::file_bytes(folder.path() / "plain.joblib");
  for (auto const* method : {"zlib", "gzip", "bz2", "lzma", "xz"}) {
    INFO(method);
    auto const file = folder.path() / (std::string(method) + ".joblib");
    auto const bytes = support::file_bytes(file);
    fuzzing::bytes_in_memory const source(file, bytes);
    auto const packing = fm::detail::compression_that_begins(source.first());
    fm::detail::decompressed_source const unpacked(source, fm::detail::whole_file(packing, source));
    std::string all(plain.size() + 1, '\0');
    REQUIRE(unpacked.read_some(0, all) == plain.size());
    all.pop_back();
    CHECK(all == plain);
  }
}
