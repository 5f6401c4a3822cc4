// Files of joblib 0.10 and later (.joblib, .pkl): one pickle, in which the bytes of each array
// follow the opcode that builds the array's wrapper.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/detail/array/descr.hpp>
#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/joblib/joblib_writer.hpp>
#include <forkmap/detail/joblib/pickle.hpp>
#include <forkmap/detail/joblib/pickle_leaves.hpp>
#include <forkmap/detail/joblib/pickle_names.hpp>
#include <forkmap/detail/joblib/pickled_dtype.hpp>
#include <forkmap/detail/lazily.hpp>
#include <forkmap/detail/owner.hpp>

namespace forkmap::detail {

/// Whether these are the first bytes of a pickle. Protocols 2 and later begin with an opcode of
/// their own. Older pickles are recognised by the beginnings of their containers and classes, so
/// that the error names the protocol.
template <class Lazy = void> bool begins_joblib(std::string_view first) {
  if (first.starts_with('\x80')) return true;
  for (std::string_view const old :
       {"cjoblib.", "cnumpy", "ccopy_reg\n", "csklearn.", "(lp", "(dp", "]q", "}q"}) {
    if (first.starts_with(old)) return true;
  }
  return false;
}

template <class Lazy = void> class joblib_directory final : public array_directory {
 public:
  explicit joblib_directory(byte_source const& source) : tree_(pickle_machine<Lazy>(source).run()) {
    for (pickle_index at = 0; at < tree_.size(); ++at) {
      if (tree_[at].kind == pickle_kind::dict) check_keys(source, at);
    }
  }

  stored_array find(byte_source const& source, std::string_view name) const override {
    auto const at = locate(source, name);
    if (tree_[at].kind == pickle_kind::array) return describe_array(source, tree_[at]);
    if (name.empty()) return only_array(source);
    auto const problem = in_quotes(name) + " is " + described(tree_[at]) + ", not an array";
    auto const parts = pickle_path<Lazy>(tree_).some_names(at, std::string(name));
    bool const plain =
        !tree_[at].is_container() || !pickle_leaves<Lazy>(tree_).common_kind(at).empty();
    if (plain) source.fail(problem + "; load_value reads it");
    source.fail(problem + (parts.empty() ? "" : "; its items are" + parts));
  }

  /// Only the first arrays if containers contain each other, or one has very many names: entries()
  /// and find() without a name refuse such a file, but find() with a name works.
  std::vector<std::string> names() const override {
    std::vector<std::string> result;
    for (pickle_leaves<Lazy> leaves(tree_); leaves.next();) {
      if (tree_[leaves.value()].kind == pickle_kind::array) result.push_back(leaves.name());
    }
    return result;
  }

  std::vector<content_entry> entries(byte_source const& source) const override {
    std::vector<content_entry> result;
    pickle_leaves<Lazy> leaves(tree_);
    std::size_t room = most_spelled_bytes;
    while (leaves.next()) {
      result.push_back({leaves.name(), {}, shape::scalar(), false});
      describe_leaf(source, leaves, result.back());
      if (result.back().is_array && result.back().type.starts_with("|V")) {
        spell_record(tree_[leaves.value()], result.back().type, room);
      }
    }
    if (!leaves.problem().empty()) source.fail(std::string(leaves.problem()));
    return result;
  }

  void show(byte_source const& source, std::string_view name, value_viewer& viewer) const override {
    auto const at = locate(source, name);
    std::string latin1;
    auto whole = plain(at, latin1);
    whole.described = described(tree_[at]);
    if (tree_[at].kind == pickle_kind::array) {
      auto const array = describe_array(source, tree_[at]);
      whole.described += " of dims " + array.dims.text() + " of " + in_quotes(array.descr);
    } else if (auto const kind = pickle_leaves<Lazy>(tree_).common_kind(at); !kind.empty()) {
      whole.described.append(" ").append(kind);
    } else {
      whole.described += pickle_path<Lazy>(tree_).some_names(at, std::string(name));
    }
    viewer.whole(whole);
    if (whole.what != plain_value::kind::list) return;
    for (auto items = tree_.items(at); !items.done();) viewer.item(plain(items.next(), latin1));
  }

 private:
  pickle_index locate(byte_source const& source, std::string_view name) const {
    pickle_path<Lazy> path(tree_);
    auto const found = path.find(name);
    if (!found) source.fail(path.why_not());
    return *found;
  }

  stored_array describe_array(byte_source const& source, pickle_value const& value) const {
    auto const& array = tree_.array(value);
    pickled_types<Lazy> types(tree_);
    auto const dims = types.read_shape(array.dims);
    auto const type = dims ? types.read_type(array.type) : std::nullopt;
    auto fields = type ? types.read_fields(array.type) : std::nullopt;
    if (!fields) source.fail(types.reason());
    stored_array result;
    result.format = "joblib";
    result.type = *type;
    result.fields = std::move(*fields);
    result.descr = result.fields.empty() ? types.spell(array.type, *type) : spelling(result);
    result.dims = *dims;
    result.layout = array.fortran ? order::fortran : order::c;
    result.offset = array.offset;
    result.bytes = array.bytes;
    return result;
  }

  /// The array for an empty name. The file must hold exactly one.
  stored_array only_array(byte_source const& source) const {
    constexpr std::size_t few = 6;
    std::string names;
    pickle_index last = tree_.root;
    std::size_t count = 0;
    pickle_leaves<Lazy> leaves(tree_);
    while (leaves.next()) {
      if (tree_[leaves.value()].kind != pickle_kind::array) continue;
      last = leaves.value();
      if (count < few) names += (count == 0 ? "" : ", ") + in_quotes(leaves.name());
      if (++count > few) break;
    }
    bool const all = leaves.problem().empty();
    if (!all && count < 2) source.fail(std::string(leaves.problem()));
    if (count == 1) return describe_array(source, tree_[last]);
    auto const holds = "the file holds " + described(tree_[tree_.root]);
    if (count == 0) source.fail(holds + " without an array; load_value reads numbers and texts");
    source.fail(holds + " with several arrays; give the name of one: " + names +
                (count > few || !all ? ", ..." : ""));
  }

  void describe_leaf(byte_source const& source, pickle_leaves<Lazy>& leaves,
                     content_entry& entry) const {
    auto const& value = tree_[leaves.value()];
    if (value.kind == pickle_kind::array) {
      auto const& array = tree_.array(value);
      pickled_types<Lazy> types(tree_);
      auto const dims = types.read_shape(array.dims);
      auto const type = dims ? types.read_type(array.type) : std::nullopt;
      if (!type) source.fail(types.reason());
      entry.type = types.spell(array.type, *type);
      entry.dims = *dims;
      entry.is_array = true;
      return;
    }
    // "a list of 3" -> "list"
    auto const text = described(value);
    auto const begin = text.find(' ') == std::string::npos ? 0 : text.find(' ') + 1;
    entry.type = text.substr(begin, text.find(' ', begin) - begin);
    if (!value.is_container()) return;
    entry.dims = shape{value.size};
    auto const kind = leaves.common_kind(leaves.value());
    if (!kind.empty()) entry.type.append(" of ").append(kind);
  }

  /// Spells the fields of a record. Many arrays can share one long or malformed record that is in
  /// the file only once, so `room` limits the characters for all of them. Without room the type
  /// remains "|V28"; load() reports what is wrong.
  void spell_record(pickle_value const& value, std::string& type, std::size_t& room) const {
    if (room == 0) return;
    auto const& array = tree_.array(value);
    pickled_types<Lazy> types(tree_);
    auto const element = types.read_type(array.type);
    auto fields = element ? types.read_fields(array.type) : std::nullopt;
    if (!fields) room = 0;
    if (!fields || fields->empty()) return;
    type = spelling(element_type{*element, std::move(*fields)});
    room -= std::min(room, type.size());
  }

  /// A value for the viewer. `latin1` holds its bytes if they have to be converted.
  plain_value plain(pickle_index at, std::string& latin1) const {
    using kind = plain_value::kind;
    auto const& value = tree_[at];
    plain_value result;
    switch (value.kind) {
      case pickle_kind::none:
        result.what = kind::none;
        break;
      case pickle_kind::boolean:
        result.what = kind::boolean;
        result.boolean = value.bits != 0;
        break;
      case pickle_kind::integer:
        result.what = kind::integer;
        result.integer = value.integer();
        break;
      case pickle_kind::natural:
        result.what = kind::natural;
        result.natural = value.bits;
        break;
      case pickle_kind::real:
        result.what = kind::real;
        result.real = value.real();
        break;
      case pickle_kind::text:
      case pickle_kind::bytes:
        result.what = kind::text;
        result.text = tree_.text(value);
        break;
      case pickle_kind::latin1:
        if (auto bytes = pickled_bytes(tree_, value)) {
          latin1 = std::move(*bytes);
          result.what = kind::text;
          result.text = latin1;
        }
        break;
      case pickle_kind::list:
      case pickle_kind::tuple:
      case pickle_kind::set:
        result.what = kind::list;
        result.items = value.size;
        break;
      default:
        break;
    }
    return result;
  }

  /// Refuses a dict with a repeated key, which another reader could resolve differently.
  void check_keys(byte_source const& source, pickle_index dict) {
    std::vector<lazily<std::string_view, Lazy>> texts;
    std::vector<lazily<std::uint64_t, Lazy>> integers;
    for (auto items = tree_.items(dict); !items.done(); items.next()) {
      auto const& key = tree_[items.next()];
      if (key.is_text()) texts.push_back(tree_.text(key));
      if (key.is_text() && key.size > long_key) key_bytes_ += key.size;
      if (key.kind == pickle_kind::integer) integers.push_back(key.bits);
    }
    // A few bytes of the file can refer to a long key again, so that comparing the keys would take
    // time quadratic in the file's size.
    if (key_bytes_ > 8 * tree_.characters().size() + (std::size_t{1} << 20U)) {
      source.fail("dicts share very long keys; dump the file with shorter keys");
    }
    if (auto const* const text = find_twice(texts)) {
      source.fail("a dict has the key " + in_quotes(*text) + " twice");
    }
    if (auto const* const integer = find_twice(integers)) {
      source.fail("a dict has the key " + std::to_string(static_cast<std::int64_t>(*integer)) +
                  " twice");
    }
  }

  static constexpr std::size_t long_key = 256;
  static constexpr std::size_t most_spelled_bytes = std::size_t{1} << 20U;

  pickle_tree<Lazy> tree_;
  std::size_t key_bytes_ = 0;  // of the long keys of all dicts, counted at each use
};

template <class Lazy = void> owner<array_directory> read_joblib(byte_source const& source) {
  if (!source.first().starts_with('\x80')) {
    source.fail(
        "the file is a pickle of protocol 0 or 1, which is not supported; joblib.dump it with "
        "protocol 2 or later");
  }
  return owner<array_directory>(new joblib_directory<Lazy>(source));
}

template <class Lazy = void>
inline constexpr array_format joblib_format{"joblib", begins_joblib<Lazy>, read_joblib<Lazy>,
                                            write_joblib<Lazy>};

}  // namespace forkmap::detail
