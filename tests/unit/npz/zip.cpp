// SPDX-License-Identifier: MIT
#include <array>
#include <string>
#include <vector>

#include <forkmap/detail/array/element.hpp>
#include <forkmap/detail/npz/npz.hpp>

#include "format/fuzz/fuzzing.hpp"
#include "support/catch.hpp"
#include "support/sanitizers.hpp"

namespace fm = forkmap;
using namespace forkmap::detail;
using Catch::Matchers::ContainsSubstring;

namespace {

/// A file of any size that does not store large writes. Unwritten bytes read as zeros.
class sparse_file final : public byte_sink {
 public:
  void reserve(std::size_t bytes) override { reserved = bytes; }
  void write(std::string_view bytes) override {
    if (bytes.size() < 4096) parts_.emplace_back(position_, bytes);
    position_ += bytes.size();
  }
  void rewrite(std::size_t at, std::string_view bytes) override { parts_.emplace_back(at, bytes); }
  std::size_t position() const override { return position_; }
  void skip(std::size_t bytes) { position_ += bytes; }

  void read(std::size_t offset, std::span<char> out) const {
    REQUIRE(offset <= position_);
    REQUIRE(out.size() <= position_ - offset);
    std::fill(out.begin(), out.end(), '\0');
    for (auto const& [at, bytes] : parts_) {
      auto const from = std::max(at, offset);
      auto const to = std::min(at + bytes.size(), offset + out.size());
      if (from < to) bytes.copy(out.data() + (from - offset), to - from, from - at);
    }
  }

  std::size_t reserved = 0;

 private:
  std::vector<std::pair<std::size_t, std::string>> parts_;
  std::size_t position_ = 0;
};

class sparse_source final : public byte_source {
 public:
  sparse_source(std::filesystem::path const& file, sparse_file const& bytes)
      : byte_source(file, bytes.position(), {}), bytes_(&bytes) {
    bytes.read(0, std::span(first_).first(std::min(size(), first_.size())));
    set_first({first_.data(), std::min(size(), first_.size())});
  }
  void read(std::size_t offset, std::span<char> out) const override { bytes_->read(offset, out); }

 private:
  sparse_file const* bytes_;
  std::array<char, 64> first_;
};

/// An array of zeros that uses no memory.
class zeros final : public array_content {
 public:
  explicit zeros(std::size_t count)
      : array_content({describe_element<double>(), fm::shape{count}, fm::order::c, 8 * count}) {}
  void write(byte_sink& out) const override {
    std::string const piece(std::min(bytes, std::size_t{1} << 20U), '\0');
    for (auto left = bytes; left != 0; left -= std::min(left, piece.size())) {
      out.write(std::string_view(piece).substr(0, std::min(left, piece.size())));
    }
  }
};

content_value dict_of(std::vector<std::string> const& names, array_content const& array) {
  content_value all;
  all.what = content_value::kind::dict;
  all.keys = names;
  content_value item;
  item.what = content_value::kind::array;
  item.array = &array;
  all.items.assign(names.size(), item);
  return all;
}

std::filesystem::path const& zip_name() {
  static std::filesystem::path const file = "a.npz";
  return file;
}

}  // namespace

TEST_CASE("zip: the data of each member is aligned, and the size is known in advance", "[array]") {
  zeros const array(5);
  std::vector<std::string> names;
  for (std::size_t length = 1; length <= 200; ++length) names.emplace_back(length, 'n');
  sparse_file out;
  write_npz(out, dict_of(names, array), {});
  CHECK(out.position() == out.reserved);
  sparse_source const source(zip_name(), out);
  auto const directory = read_npz(source);
  CHECK(directory->names() == names);
  for (auto const& each : names) {
    auto const found = directory->find(source, each);
    CHECK(found.offset % 64 == 0);
    CHECK(found.bytes == 40);
    CHECK(found.packed.method == compression::none);
    CHECK(found.packed.crc32.has_value());
    CHECK_FALSE(found.writable);
  }
}

TEST_CASE("zip: more members than fit in 16 bits use the zip64 end record", "[array]") {
  zeros const array(0);
  for (std::size_t const count : {65'534U, 65'536U}) {
    if (count < 65'535 && support::shadow_memory) continue;  // takes seconds
    std::vector<std::string> names;
    for (std::size_t i = 0; i < count; ++i) names.push_back(std::to_string(i));
    // Not with the sparse file, because its reads take time proportional to the number of writes.
    class plain final : public byte_sink {
     public:
      void reserve(std::size_t bytes) override { reserved = bytes; }
      void write(std::string_view bytes) override { all += bytes; }
      void rewrite(std::size_t at, std::string_view bytes) override {
        all.replace(at, bytes.size(), bytes);
      }
      std::size_t position() const override { return all.size(); }
      std::string all;
      std::size_t reserved = 0;
    } out;
    write_npz(out, dict_of(names, array), {});
    CHECK(out.all.size() == out.reserved);
    fuzzing::bytes_in_memory const source(zip_name(), out.all);
    auto const directory = read_npz(source);
    CHECK(directory->names() == names);
    CHECK(directory->find(source, names.back()).dims == fm::shape{0});
    CHECK((out.all.find("PK\6\6") != std::string::npos) == (count >= 65'535));
  }
}

TEST_CASE("zip: sizes and offsets beyond 32 bits are written and read", "[array]") {
  constexpr std::size_t large = 5'000'000'000;
  auto const head = npy_head(describe_element<double>(), fm::shape{large / 8}, fm::order::c);
  zip_member member;
  member.name = "a.npy";
  member.packed_bytes = member.unpacked_bytes = head.size() + large;
  sparse_file big;
  auto second = member;
  second.name = "b.npy";
  big.write(zip_local_header(member, 64));
  big.write(head);
  big.skip(large);
  second.offset = big.position();
  big.write(zip_local_header(second, 64));
  big.write(head);
  big.skip(large);
  auto const directory_offset = big.position();
  big.write(zip_central_entry(member));
  big.write(zip_central_entry(second));
  big.write(zip_end(2, big.position() - directory_offset, directory_offset));
  std::vector<std::pair<std::string, std::size_t>> const both{{"a.npy", head.size() + large},
                                                              {"b.npy", head.size() + large}};
  CHECK(zip_writer(big, {}, 64).stored_bytes(both) == big.position());

  sparse_source const source(zip_name(), big);
  auto const directory = read_npz(source);
  for (auto const* each : {"a", "b"}) {
    auto const found = directory->find(source, each);
    CHECK(found.bytes == large);
    CHECK(found.offset % 64 == 0);
  }
  CHECK(directory->find(source, "b").offset > large);
}

TEST_CASE("npz: names that would leave a folder are refused", "[array]") {
  for (auto const* good : {"a", "a/b", "a.b", "..a", "a..", ".", "a.npy", "\xc3\xa4", " "}) {
    INFO(good);
    CHECK(bad_array_name(good).empty());
  }
  using namespace std::string_view_literals;
  for (auto const bad : {""sv, "/a"sv, ".."sv, "../a"sv, "a/.."sv, "a/../b"sv, "a\0b"sv, "a\\b"sv,
                         "\xff"sv, "\xc3"sv}) {
    INFO(bad);
    CHECK_FALSE(bad_array_name(bad).empty());
  }
  CHECK(bad_array_name(std::string(65'531, 'a')).empty());
  CHECK_FALSE(bad_array_name(std::string(65'532, 'a')).empty());
}
