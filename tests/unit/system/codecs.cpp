#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <forkmap/system/codecs.hpp>

#include "support/catch.hpp"

using namespace forkmap::detail;
using Catch::Matchers::ContainsSubstring;

namespace {

std::string packed(std::string_view bytes, write_options const& options) {
  auto const packer = make_packer(options);
  std::string result;
  while (!bytes.empty()) {
    auto const step = packer->run(bytes, false);
    bytes.remove_prefix(step.taken);
    result += step.out;
  }
  for (bool end = false; !end;) {
    auto const step = packer->run({}, true);
    result += step.out;
    end = step.end;
  }
  return result;
}

/// One stream, in pieces of these sizes.
std::string unpacked(std::string_view bytes, packing method, std::size_t in_piece,
                     std::size_t out_piece) {
  auto const unpacker = make_unpacker(method);
  std::string result;
  std::string piece(out_piece, '\0');
  for (;;) {
    auto const step = unpacker->run(bytes.substr(0, in_piece), piece);
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

TEST_CASE("codecs: what is packed is unpacked as the same", "[array]") {
  auto const all = samples();
  for (auto const& method : packing_methods) {
    for (auto const& sample : all) {
      INFO(method.name << ", " << sample.size() << " bytes");
      auto const small = packed(sample, {method.method, -1});
      if (unpacked(small, method.method, std::string::npos, 1 << 16) != sample) FAIL("other bytes");
    }
    auto const small = packed(all.back().substr(0, 5000), {method.method, -1});
    CHECK(unpacked(small, method.method, 1, 7) == all.back().substr(0, 5000));
    // The level was heard of. The highest ones of xz take hundreds of megabytes.
    auto const lowest = packed(all.back(), {method.method, method.lowest_level});
    auto const higher = packed(all.back(), {method.method, std::min(method.highest_level, 6)});
    CHECK(higher != lowest);
    CHECK(unpacked(higher, method.method, 1 << 16, 1 << 16) == all.back());
  }
}

TEST_CASE("codecs: a stream that is cut short has no end, wherever it is cut", "[array]") {
  auto const sample = samples().back().substr(0, 200);
  for (auto const& method : packing_methods) {
    auto const small = packed(sample, {method.method, -1});
    for (std::size_t size = 0; size < small.size(); ++size) {
      INFO(method.name << ", " << size << " of " << small.size());
      REQUIRE_THROWS_AS(unpacked(small.substr(0, size), method.method, 100, 100), codec_error);
    }
  }
}

TEST_CASE("codecs: no changed byte of a stream with a checksum goes unnoticed", "[array]") {
  auto const sample = samples().back().substr(0, 200);
  for (auto const method : {packing::zlib, packing::gzip, packing::bzip2, packing::xz}) {
    auto const small = packed(sample, {method, -1});
    for (std::size_t at = 0; at < small.size(); ++at) {
      // What gzip's head says of its writer changes nothing.
      if (method == packing::gzip && at >= 4 && at < 10) continue;
      INFO(name_of(method) << ", byte " << at);
      auto changed = small;
      changed[at] = static_cast<char>(changed[at] ^ 0x10);
      bool noticed = false;
      std::string bytes;
      try {
        bytes = unpacked(changed, method, 4096, 4096);
      } catch (codec_error const&) {
        noticed = true;
      }
      // A bit that fills up the last byte may be anything.
      bool const harmless = method == packing::bzip2 && at + 1 == small.size() && bytes == sample;
      REQUIRE((noticed || harmless));
    }
  }
}

TEST_CASE("codecs: a dictionary that is large beyond reason is refused before it is allocated",
          "[array]") {
  auto small = packed("some bytes", {packing::lzma, -1});
  small.replace(1, 4, {"\x00\x00\x00\x60", 4});  // 1.5 GiB
  CHECK_THROWS_WITH(unpacked(small, packing::lzma, 1000, 1000), ContainsSubstring("256 MiB"));
}

TEST_CASE("codecs: methods are told by their names, with a level or without", "[array]") {
  CHECK(parse_packing("").method == packing::none);
  CHECK(parse_packing("zlib").method == packing::zlib);
  CHECK(parse_packing("zlib").level == -1);
  CHECK(parse_packing("xz:9").method == packing::xz);
  CHECK(parse_packing("xz:9").level == 9);
  CHECK(parse_packing("lz4:16").level == 16);
  for (auto const* bad : {"zip", "Zlib", " zlib", "zlib ", "none", ":", ":3"}) {
    INFO(bad);
    CHECK_THROWS_AS(parse_packing(bad), std::invalid_argument);
    CHECK_THROWS_WITH(parse_packing(bad), ContainsSubstring("deflate, zlib, gzip, bz2, xz"));
  }
  for (auto const* bad : {"zlib:", "zlib:10", "zlib:-1", "zlib:x", "zlib:1x", "bz2:0",
                          "zlib:99999999999", "lz4: 1"}) {
    INFO(bad);
    CHECK_THROWS_AS(parse_packing(bad), std::invalid_argument);
    CHECK_THROWS_WITH(parse_packing(bad), ContainsSubstring("levels of"));
  }
}

TEST_CASE("codecs: a library that is not there is named with its package", "[array]") {
  CHECK_THROWS_AS(function_source("libforkmap-none.so.7", "none", {"no_such_function"}),
                  missing_library);
  CHECK_THROWS_WITH(function_source("libforkmap-none.so.7", "libnone7", {"no_such_function"}),
                    "libforkmap-none.so.7 is not here; Debian's package libnone7 has it");
  // One function that is there is not enough: they must all come from one place.
  CHECK_THROWS_WITH(function_source("libz.so.1", "zlib1g", {"inflate", "no_such_function"}),
                    ContainsSubstring("too old"));
  CHECK(function_source("libforkmap-none.so.7", "none", {"malloc"}).find<int()>("malloc") !=
        nullptr);
}
