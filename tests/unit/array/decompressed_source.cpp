// SPDX-License-Identifier: MIT
#include <string>
#include <vector>

#include <forkmap/detail/array/compressed_file.hpp>

#include "format/fuzz/fuzzing.hpp"
#include "support/catch.hpp"

namespace fm = forkmap;
using namespace forkmap::detail;
using Catch::Matchers::ContainsSubstring;

namespace {

class string_sink final : public byte_sink {
 public:
  void reserve(std::size_t /*bytes*/) override {}
  void write(std::string_view bytes) override { all += bytes; }
  void rewrite(std::size_t at, std::string_view bytes) override {
    all.replace(at, bytes.size(), bytes);
  }
  std::size_t position() const override { return all.size(); }

  std::string all;
};

std::string packed(std::string_view bytes, compression method) {
  string_sink out;
  compressed_sink sink(out, {method, -1});
  for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), std::size_t{1000}))) {
    sink.write(bytes.substr(0, 1000));
  }
  sink.finish();
  return out.all;
}

std::string sample(std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += std::to_string(text.size() * text.size()) + ' ';
  return text.substr(0, bytes);
}

/// A file with these bytes that counts the bytes read from it.
class counted_bytes final : public byte_source {
 public:
  counted_bytes(std::filesystem::path const& file, std::string_view bytes)
      : byte_source(file, bytes.size(), bytes.substr(0, 64)), bytes_(bytes) {}
  void read(std::size_t offset, std::span<char> out) const override {
    REQUIRE(offset <= bytes_.size());
    REQUIRE(out.size() <= bytes_.size() - offset);
    bytes_.substr(offset, out.size()).copy(out.data(), out.size());
    read_bytes += out.size();
  }
  mutable std::size_t read_bytes = 0;

 private:
  std::string_view bytes_;
};

std::filesystem::path const& packed_name() {
  static std::filesystem::path const file = "a.gz";
  return file;
}

std::string read(byte_source const& source, std::size_t offset, std::size_t bytes) {
  std::string result(bytes, '\0');
  source.read(offset, result);
  return result;
}

}  // namespace

TEST_CASE("decompressed_source: reads forwards once, and backwards by starting over", "[array]") {
  auto const text = sample(800'000);
  for (auto const& method : compression_methods) {
    INFO(method.name);
    auto const file = "head" + packed(text, method.method);
    counted_bytes const source(packed_name(), file);
    compressed_section const section{method.method, 4, file.size() - 4};
    decompressed_source const unpacked(source, section);
    CHECK(unpacked.size() == unknown_size);
    CHECK(unpacked.first() == text.substr(0, 1024));
    CHECK(read(unpacked, 100, 1000) == text.substr(100, 1000));
    CHECK(read(unpacked, 2000, 10'000) == text.substr(2000, 10'000));
    CHECK(read(unpacked, 12'000, 600'000) == text.substr(12'000, 600'000));
    CHECK(read(unpacked, text.size() - 1, 1) == text.substr(text.size() - 1));
    unpacked.check_end();
    CHECK(source.read_bytes == section.bytes);
    CHECK(read(unpacked, 5000, 5) == text.substr(5000, 5));
    CHECK(read(unpacked, 10, 5) == text.substr(10, 5));
  }
}

TEST_CASE("decompressed_source: says where truncated data ends", "[array]") {
  auto const text = sample(5000);
  auto const file = packed(text, compression::gzip);
  counted_bytes const source(packed_name(), file);
  decompressed_source const unpacked(source, {compression::gzip, 0, file.size()});
  CHECK_THROWS_AS(read(unpacked, 4999, 2), fm::format_error);
  CHECK_THROWS_WITH(read(unpacked, 4999, 2),
                    "forkmap: a.gz: gzip-compressed data: ends after 5000 bytes; expected at "
                    "least 5001");
  CHECK_THROWS_WITH(read(unpacked, 1'000'000'000'000, 1), ContainsSubstring("5000 bytes"));
  std::string some(100, '\0');
  CHECK(unpacked.read_some(4990, some) == 10);
  CHECK(unpacked.read_some(6000, some) == 0);
  CHECK(unpacked.read_some(0, some) == 100);
  CHECK(some == text.substr(0, 100));
}

TEST_CASE("decompressed_source: concatenated streams are read as one, and zeros may follow",
          "[array]") {
  auto const text = sample(200'000);
  for (auto const& method : compression_methods) {
    if (method.method == compression::deflate) continue;
    INFO(method.name);
    auto file = packed(text.substr(0, 70'000), method.method) + packed("", method.method) +
                packed(text.substr(70'000), method.method) + std::string(100'000, '\0');
    compressed_section const section{method.method, 0, file.size()};
    {
      counted_bytes const source(packed_name(), file);
      decompressed_source const unpacked(source, section);
      CHECK(read(unpacked, 0, text.size()) == text);
      unpacked.check_end();
    }
    file.back() = 'x';
    counted_bytes const source(packed_name(), file);
    decompressed_source const unpacked(source, section);
    CHECK(read(unpacked, 0, text.size()) == text);
    CHECK_THROWS_AS(unpacked.check_end(), fm::format_error);
  }
}

TEST_CASE("decompressed_source: checks size and CRC-32 if they are known", "[array]") {
  auto const text = sample(5000);
  auto const file = packed(text, compression::deflate);
  counted_bytes const source(packed_name(), file);
  crc32_sum sum;
  sum.add(text);
  auto const check = [&](std::size_t bytes, std::uint32_t crc32) {
    decompressed_source const unpacked(source,
                                       {compression::deflate, 0, file.size(), bytes, crc32});
    std::string all(std::min(bytes, text.size()), '\0');
    unpacked.read(0, all);
    unpacked.check_end();
  };
  CHECK_NOTHROW(check(5000, sum.value()));
  CHECK_THROWS_WITH(check(5000, sum.value() + 1), ContainsSubstring("CRC-32) is wrong"));
  CHECK_THROWS_WITH(check(4999, sum.value()),
                    ContainsSubstring("longer than the expected 4999 bytes"));
  CHECK_THROWS_WITH(check(5001, sum.value()), ContainsSubstring("ends after 5000 bytes"));
}

TEST_CASE("compressed_sink: cannot rewrite data, and counts uncompressed bytes", "[array]") {
  string_sink out;
  compressed_sink sink(out, {compression::zlib, 9});
  sink.write("12345");
  CHECK(sink.position() == 5);
  CHECK_THROWS_AS(sink.rewrite(0, "x"), std::logic_error);
  sink.finish();
  CHECK(sink.position() == 5);
  CHECK(out.all.size() == 13);
}

TEST_CASE("crc32: equals that of zip archives, computed piece by piece", "[array]") {
  crc32_sum sum;
  CHECK(sum.value() == 0);
  sum.add("1234");
  sum.add("");
  sum.add("56789");
  CHECK(sum.value() == 0xcbf43926);  // the check value of CRC-32/ISO-HDLC
}
