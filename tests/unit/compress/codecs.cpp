// SPDX-License-Identifier: MIT
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <forkmap/detail/compress/codecs.hpp>

#include "support/catch.hpp"

using namespace forkmap::detail;
using Catch::Matchers::ContainsSubstring;

namespace {

std::string compressed(std::string_view bytes, write_options const& options) {
  auto const compressor = make_compressor(options);
  std::string result;
  while (!bytes.empty()) {
    auto const step = compressor->run(bytes, false);
    bytes.remove_prefix(step.taken);
    result += step.out;
  }
  for (bool end = false; !end;) {
    auto const step = compressor->run({}, true);
    result += step.out;
    end = step.end;
  }
  return result;
}

/// Decompresses one stream in pieces of these sizes.
std::string decompressed(std::string_view bytes, compression method, std::size_t in_piece,
                         std::size_t out_piece) {
  auto const decompressor = make_decompressor(method);
  std::string result;
  std::string piece(out_piece, '\0');
  for (;;) {
    auto const step = decompressor->run(bytes.substr(0, in_piece), piece);
    bytes.remove_prefix(step.taken);
    result.append(piece, 0, step.given);
    if (step.end) return result;
    if (step.taken == 0 && step.given == 0) throw codec_error("no end");
  }
}

std::vector<std::string> samples() {
  std::string random(300'000, '\0');
  std::mt19937 generator(1);
  for (auto& c : random) c = static_cast<char>(generator());
  std::string text;
  while (text.size() < 1'000'000) text += std::to_string(text.size()) + ", ";
  return {"", "x", std::string(1'000'000, '\0'), random, text, text.substr(0, 300'000)};
}

}  // namespace

TEST_CASE("codecs: compressed data decompresses to the same bytes", "[array]") {
  auto const all = samples();
  for (auto const& method : compression_methods) {
    for (auto const& sample : all) {
      INFO(method.name << ", " << sample.size() << " bytes");
      auto const small = compressed(sample, {method.method, -1});
      if (decompressed(small, method.method, std::string::npos, 1 << 16) != sample)
        FAIL("other bytes");
    }
    auto const small = compressed(all.back().substr(0, 5000), {method.method, -1});
    CHECK(decompressed(small, method.method, 1, 7) == all.back().substr(0, 5000));
    // The level has an effect. The highest levels of xz use hundreds of megabytes.
    auto const lowest = compressed(all.back(), {method.method, method.lowest_level});
    auto const higher = compressed(all.back(), {method.method, std::min(method.highest_level, 6)});
    CHECK(higher != lowest);
    CHECK(decompressed(higher, method.method, 1 << 16, 1 << 16) == all.back());
  }
}

TEST_CASE("codecs: a truncated stream is an error, wherever it is cut", "[array]") {
  auto const sample = samples().back().substr(0, 200);
  for (auto const& method : compression_methods) {
    auto const small = compressed(sample, {method.method, -1});
    for (std::size_t size = 0; size < small.size(); ++size) {
      INFO(method.name << ", " << size << " of " << small.size());
      REQUIRE_THROWS_AS(decompressed(small.substr(0, size), method.method, 100, 100), codec_error);
    }
  }
}

TEST_CASE("codecs: every changed byte of a stream with a checksum is detected", "[array]") {
  auto const sample = samples().back().substr(0, 200);
  for (auto const method :
       {compression::zlib, compression::gzip, compression::bzip2, compression::xz}) {
    auto const small = compressed(sample, {method, -1});
    for (std::size_t at = 0; at < small.size(); ++at) {
      // Bytes 4 to 9 of a gzip header describe its writer and do not affect the data.
      if (method == compression::gzip && at >= 4 && at < 10) continue;
      INFO(name_of(method) << ", byte " << at);
      auto changed = small;
      changed[at] = static_cast<char>(changed[at] ^ 0x10);
      bool noticed = false;
      std::string bytes;
      try {
        bytes = decompressed(changed, method, 4096, 4096);
      } catch (codec_error const&) {
        noticed = true;
      }
      // The padding bits of the last byte may have any value.
      bool const harmless =
          method == compression::bzip2 && at + 1 == small.size() && bytes == sample;
      REQUIRE((noticed || harmless));
    }
  }
}

TEST_CASE("codecs: an unreasonably large dictionary is refused before it is allocated", "[array]") {
  auto small = compressed("some bytes", {compression::lzma, -1});
  small.replace(1, 4, {"\x00\x00\x00\x60", 4});  // 1.5 GiB
  CHECK_THROWS_WITH(decompressed(small, compression::lzma, 1000, 1000),
                    ContainsSubstring("256 MiB"));
}

TEST_CASE("codecs: a method is chosen by name, with or without a level", "[array]") {
  CHECK(parse_compression("").method == compression::none);
  CHECK(parse_compression("zlib").method == compression::zlib);
  CHECK(parse_compression("zlib").level == -1);
  CHECK(parse_compression("xz:9").method == compression::xz);
  CHECK(parse_compression("xz:9").level == 9);
  CHECK(parse_compression("lz4:16").level == 16);
  for (auto const* bad : {"zip", "Zlib", " zlib", "zlib ", "none", ":", ":3"}) {
    INFO(bad);
    CHECK_THROWS_AS(parse_compression(bad), std::invalid_argument);
    CHECK_THROWS_WITH(parse_compression(bad), ContainsSubstring("deflate, zlib, gzip, bz2, xz"));
  }
  for (auto const* bad : {"zlib:", "zlib:10", "zlib:-1", "zlib:x", "zlib:1x", "bz2:0",
                          "zlib:99999999999", "lz4: 1"}) {
    INFO(bad);
    CHECK_THROWS_AS(parse_compression(bad), std::invalid_argument);
    CHECK_THROWS_WITH(parse_compression(bad), ContainsSubstring("the level of"));
  }
}

TEST_CASE("codecs: a missing library is named with its package", "[array]") {
  CHECK_THROWS_AS(function_source("libforkmap-none.so.7", "none", {"no_such_function"}),
                  missing_library);
  CHECK_THROWS_WITH(function_source("libforkmap-none.so.7", "libnone7", {"no_such_function"}),
                    "libforkmap-none.so.7 was not found (Debian package: libnone7)");
  // One of the functions is not enough: a library must have all of them.
  CHECK_THROWS_WITH(function_source("libz.so.1", "zlib1g", {"inflate", "no_such_function"}),
                    ContainsSubstring("too old"));
  CHECK(function_source("libforkmap-none.so.7", "none", {"malloc"}).find<int()>("malloc") !=
        nullptr);
}
