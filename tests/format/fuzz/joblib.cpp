// Any bytes are refused or read as a pickle whose arrays lie inside them. A pickle that was read
// can be written, and then reads as the same. See fuzzing.hpp.
// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/detail/mapped/formats.hpp>
#include <forkmap/detail/owner.hpp>

#include "fuzzing.hpp"

namespace {

using namespace forkmap::detail;
using fuzzing::refused, fuzzing::require;

constexpr std::size_t most_looked_at = 32;  // so that a run is short

class looker final : public value_viewer {
 public:
  void whole(plain_value const& value) override {
    require(!value.described.empty());
    expected = value.what == plain_value::kind::list ? value.items : 0;
    look(value);
  }
  void item(plain_value const& value) override {
    require(seen++ < expected);
    look(value);
  }
  std::size_t expected = 0;
  std::size_t seen = 0;

 private:
  static void look(plain_value const& value) {
    // AddressSanitizer reports here if a text was freed.
    require(std::count(value.text.begin(), value.text.end(), 'x') >= 0);
  }
};

class sink_in_memory final : public byte_sink {
 public:
  void reserve(std::size_t all) override { reserved = all; }
  void write(std::string_view more) override { bytes += more; }
  void rewrite(std::size_t at, std::string_view more) override {
    bytes.replace(at, more.size(), more);
  }
  std::size_t position() const override { return bytes.size(); }
  std::string bytes{};
  std::size_t reserved = 0;
};

class array_of_zeros final : public array_content {
 public:
  using array_content::array_content;
  void write(byte_sink& out) const override { out.write(std::string(bytes, '\0')); }
};

/// The values of a pickle that can be written, up to a few hundred.
class rewriter {
 public:
  explicit rewriter(pickle_tree<> const& tree) : tree_(&tree) {}

  /// Returns: false for a value that content_value cannot hold.
  bool make(pickle_index at, content_value& out, int depth = 0) {
    using kind = content_value::kind;
    auto const& value = (*tree_)[at];
    if (++values_ > 256 || depth > 16) return false;
    switch (value.kind) {
      case pickle_kind::none:
        return true;
      case pickle_kind::boolean:
        out.what = kind::boolean;
        out.boolean = value.bits != 0;
        return true;
      case pickle_kind::integer:
        out.what = kind::integer;
        out.integer = value.integer();
        return true;
      case pickle_kind::natural:
        out.what = kind::natural;
        out.natural = value.bits;
        return true;
      case pickle_kind::real:
        out.what = kind::real;
        out.real = value.real();
        return true;
      case pickle_kind::text:
        out.what = kind::text;
        out.text = tree_->text(value);
        return true;
      case pickle_kind::list:
      case pickle_kind::tuple:
        out.what = value.kind == pickle_kind::list ? kind::list : kind::tuple;
        for (auto items = tree_->items(at); !items.done();) {
          if (!make(items.next(), out.items.emplace_back(), depth + 1)) return false;
        }
        return true;
      case pickle_kind::dict:
        out.what = kind::dict;
        for (auto items = tree_->items(at); !items.done();) {
          auto const& key = (*tree_)[items.next()];
          if (!key.is_text()) return false;
          out.keys.emplace_back(tree_->text(key));
          if (!make(items.next(), out.items.emplace_back(), depth + 1)) return false;
        }
        return true;
      case pickle_kind::array:
        return make_array(tree_->array(value), out);
      default:
        return false;
    }
  }

 private:
  bool make_array(pickled_array const& array, content_value& out) {
    pickled_types<> types(*tree_);
    auto const dims = types.read_shape(array.dims);
    auto const type = dims ? types.read_type(array.type) : std::nullopt;
    auto fields = type ? types.read_fields(array.type) : std::nullopt;
    // The unit of a time is not kept.
    if (!fields || type->kind == 'M' || type->kind == 'm' || array.bytes > 4096) return false;
    array_description description{{*type, std::move(*fields)},
                                  *dims,
                                  array.fortran ? forkmap::order::fortran : forkmap::order::c,
                                  array.bytes};
    arrays_.push_back(std::make_unique<array_of_zeros>(std::move(description)));
    out.what = content_value::kind::array;
    out.array = arrays_.back().get();
    return true;
  }

  pickle_tree<> const* tree_;
  std::vector<std::unique_ptr<array_of_zeros>> arrays_{};
  int values_ = 0;
};

void check_array(stored_array const& found, std::size_t size) {
  require(found.offset <= size && found.bytes <= size - found.offset);
  std::size_t count = 0;
  require(found.dims.try_count(count) && count * found.type.item_bytes == found.bytes);
  for (auto const& field : found.fields) {
    require(field.offset <= found.type.item_bytes &&
            field.bytes() <= found.type.item_bytes - field.offset);
  }
}

void check_written_again(byte_source const& source,
                         std::vector<forkmap::content_entry> const& entries) {
  auto const tree = pickle_machine(source).run();
  rewriter again(tree);
  content_value content;
  if (!again.make(tree.root, content)) return;
  sink_in_memory out;
  write_joblib(out, content, {});
  require(out.reserved == out.bytes.size());

  fuzzing::bytes_in_memory const written(source.file(), out.bytes);
  auto const directory = read_directory(written);
  auto const found = directory->entries(written);
  require(found.size() == entries.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    require(found[i].name == entries[i].name && found[i].type == entries[i].type &&
            found[i].dims == entries[i].dims && found[i].is_array == entries[i].is_array);
    if (found[i].is_array) require(directory->find(written, found[i].name).offset % 64 == 0);
  }
}

}  // namespace

int fuzz_joblib(std::uint8_t const* data, std::size_t size) {
  std::string_view const bytes(reinterpret_cast<char const*>(data), size);
  if (!begins_joblib(bytes)) return 0;
  std::filesystem::path const file = "fuzzed.joblib";
  fuzzing::bytes_in_memory const source(file, bytes);
  owner<array_directory> directory;
  if (refused([&] { directory = read_directory(source); })) return 0;

  stored_array only;
  if (!refused([&] { only = directory->find(source, ""); })) check_array(only, size);
  std::vector<forkmap::content_entry> entries;
  if (refused([&] { entries = directory->entries(source); })) return 0;
  for (std::size_t i = 0; i < std::min(entries.size(), most_looked_at); ++i) {
    auto const& entry = entries[i];
    if (entry.is_array) {
      stored_array found;
      bool const lost = refused([&] { found = directory->find(source, entry.name); });
      // The fields are read only now.
      if (!lost) {
        check_array(found, size);
        require(found.dims == entry.dims);
      }
    }
    looker seen;
    if (!refused([&] { directory->show(source, entry.name, seen); })) {
      require(seen.seen == seen.expected);
    }
  }
  check_written_again(source, entries);
  return 0;
}
