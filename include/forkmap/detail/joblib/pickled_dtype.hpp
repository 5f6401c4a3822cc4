// Reader of numpy.dtype in a pickle: the arguments of its constructor and a tuple of state.
//
//   ('f8', False, True)  and  (3, '<', None, None, None, -1, -1, 0)
//   (version, byte order, (base, shape) of a sub-array, names, fields, bytes, alignment, flags)
//
// Source: numpy/core/src/multiarray/descriptor.c, arraydescr_reduce and arraydescr_setstate.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <forkmap/detail/array/dtype.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/joblib/pickle_tree.hpp>
#include <forkmap/detail/lazily.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

/// Reads the dims and the dtype of an array in a pickle. On an error, the result is empty and
/// reason() gives the error text.
template <class Lazy = void> class pickled_types {
 public:
  explicit pickled_types(pickle_tree<Lazy> const& tree) : tree_(&tree) {}

  std::string const& reason() const { return reason_; }

  /// A tuple of non-negative integers.
  std::optional<lazily<shape, Lazy>> read_shape(pickle_index at) {
    if ((*tree_)[at].kind != pickle_kind::tuple)
      return refuse("the shape of an array is not a tuple");
    std::array<std::size_t, shape::max_rank> extents{};
    std::size_t rank = 0;
    for (auto items = tree_->items(at); !items.done(); ++rank) {
      if (rank == shape::max_rank) return refuse("the shape of an array has more than 64 axes");
      auto const& extent = (*tree_)[items.next()];
      if (extent.kind != pickle_kind::integer || extent.integer() < 0) {
        return refuse("the shape of an array does not consist of non-negative integers");
      }
      extents[rank] = static_cast<std::size_t>(extent.bits);
    }
    return shape(std::span<std::size_t const>(extents.data(), rank));
  }

  /// Kind, byte order and size, which suffice to find the end of an array.
  std::optional<lazily<dtype, Lazy>> read_type(pickle_index at) {
    auto const state = read_state(at);
    if (!state) return {};
    auto const code = (*tree_).text(static_cast<pickle_index>((*tree_)[at].bits));
    if (code.starts_with('O') || (state->flags & holds_objects) != 0) return refuse(objects);
    auto const type =
        parse_dtype<Lazy>(std::string(state->order) + std::string(code.substr(0, 32)));
    if (!type) return refuse("unknown dtype " + in_quotes(code));
    return type;
  }

  /// The fields of a record, in the order of their offsets; none if the type is not a record.
  std::optional<lazily<std::vector<record_field>, Lazy>> read_fields(pickle_index at,
                                                                     int depth = 0) {
    auto const type = read_type(at);
    auto const state = read_state(at);
    if (!type || !state) return {};
    std::vector<lazily<record_field, Lazy>> fields;
    if ((*tree_)[state->names].kind == pickle_kind::none) return fields;
    if (type->kind != 'V' || (*tree_)[state->names].kind != pickle_kind::tuple ||
        (*tree_)[state->fields].kind != pickle_kind::dict) {
      return refuse("a dtype has malformed fields");
    }
    if (depth == deepest) return refuse("records are nested more than 32 deep");
    if ((*tree_)[state->fields].size > 2 * most_fields) return refuse(too_many);
    auto next_field = tree_->items(state->fields);
    for (auto names = tree_->items(state->names); !names.done();) {
      auto const& name = (*tree_)[names.next()];
      // Many fields can share one long name that is in the file only once.
      if (name.is_text() && (name_bytes_ += name.size) > most_name_bytes) {
        return refuse("the names of a record's fields have more than 1 MiB in all");
      }
      auto const place =
          name.is_text() ? find_field(state->fields, next_field, tree_->text(name)) : nowhere;
      if (place == nowhere) return refuse("a record's fields do not match their names");
      auto field = read_field(place, type->item_bytes, depth);
      if (!field) return {};
      field->name = tree_->text(name);
      fields.push_back(std::move(*field));
    }
    std::sort(fields.begin(), fields.end(), [](auto const& a, auto const& b) {
      return std::tie(a.offset, a.name) < std::tie(b.offset, b.name);
    });
    if (has_name_twice(fields)) return refuse("a record has the same field twice");
    return fields;
  }

  /// NumPy's spelling of a type without its fields, with the unit of a time: "<f8", "<M8[ns]".
  std::string spell(pickle_index at, dtype const& type) {
    auto result = spelling(type);
    auto const state = read_state(at);
    if ((type.kind != 'M' && type.kind != 'm') || !state) return result;
    // ({}, (b'ns', 1, 1, 1))
    auto metadata = (*tree_)[state->metadata].is_sequence() ? tree_->items(state->metadata)
                                                            : tree_->items(pickle_tree<Lazy>::none);
    if (metadata.left() != 2) return result;
    metadata.next();
    auto const unit = metadata.next();
    if (!(*tree_)[unit].is_sequence() || (*tree_)[unit].size < 2) return result;
    auto parts = tree_->items(unit);
    auto const& name = (*tree_)[parts.next()];
    auto const& count = (*tree_)[parts.next()];
    bool const known = name.kind == pickle_kind::bytes || name.kind == pickle_kind::latin1;
    if (!known || name.size > 8 || count.kind != pickle_kind::integer) return result;
    if (tree_->text(name) == "generic") return result;
    return result + "[" + (count.integer() == 1 ? "" : std::to_string(count.integer())) +
           std::string(tree_->text(name)) + "]";
  }

  static constexpr std::string_view objects =
      "an array holds Python objects (dtype 'O'), stored as a pickle; forkmap never reads them, "
      "because a pickle can run code";

 private:
  static constexpr std::int64_t holds_objects = 1;  // NPY_ITEM_REFCOUNT
  static constexpr int deepest = 32;
  static constexpr std::uint32_t most_fields = 4096;  // in all, those of nested records too
  static constexpr std::string_view too_many = "a record has more than 4096 fields";
  static constexpr std::size_t most_name_bytes = std::size_t{1} << 20U;  // of nested ones too
  static constexpr pickle_index nowhere = pickle_tree<Lazy>::none;
  using cursor = typename pickle_tree<Lazy>::cursor;

  struct dtype_state {
    std::string_view order;
    pickle_index sub_array;
    pickle_index names;
    pickle_index fields;
    pickle_index metadata;
    std::int64_t flags;
  };

  std::nullopt_t refuse(std::string_view reason) {
    reason_ = reason;
    return std::nullopt;
  }

  std::optional<lazily<dtype_state, Lazy>> read_state(pickle_index at) {
    auto const& type = (*tree_)[at];
    if (type.kind != pickle_kind::dtype)
      return refuse("the dtype of an array is not a numpy.dtype");
    auto const tuple = type.size;
    auto const size = (*tree_)[tuple].size;
    if (size != 8 && size != 9) {
      return refuse("a dtype does not have the state that NumPy writes");
    }
    auto items = tree_->items(tuple);
    dtype_state result{};
    auto const& version = (*tree_)[items.next()];
    auto const& order = (*tree_)[items.next()];
    result.sub_array = items.next();
    result.names = items.next();
    result.fields = items.next();
    items.next();  // bytes, which the code gives as well
    items.next();  // alignment
    auto const& flags = (*tree_)[items.next()];
    result.metadata = items.done() ? pickle_tree<Lazy>::none : items.next();
    bool const known = version.kind == pickle_kind::integer && version.integer() >= 3 &&
                       version.integer() <= 4 && flags.kind == pickle_kind::integer;
    if (!known || !order.is_text() || order.size != 1) {
      return refuse("a dtype has a state that NumPy does not write");
    }
    result.order = tree_->text(order);
    result.flags = flags.integer();
    return result;
  }

  /// (dtype, offset) or (dtype, offset, title).
  std::optional<lazily<record_field, Lazy>> read_field(pickle_index at, std::size_t record_bytes,
                                                       int depth) {
    auto const& tuple = (*tree_)[at];
    if (tuple.kind != pickle_kind::tuple || tuple.size < 2)
      return refuse("a record has a malformed field");
    if (++fields_ > most_fields) return refuse(too_many);
    auto items = tree_->items(at);
    auto type_at = items.next();
    auto const& offset = (*tree_)[items.next()];
    auto type = read_type(type_at);
    if (!type) return {};

    record_field field;
    auto const bytes = type->item_bytes;
    if (auto const outer = read_state(type_at);
        outer && (*tree_)[outer->sub_array].kind != pickle_kind::none) {
      auto const& pair = (*tree_)[outer->sub_array];
      if (pair.kind != pickle_kind::tuple || pair.size != 2)
        return refuse("a field has a malformed sub-array");
      auto parts = tree_->items(outer->sub_array);
      type_at = parts.next();
      auto const dims = read_shape(parts.next());
      type = read_type(type_at);
      if (!dims || !type) return {};
      field.dims = *dims;
    }
    std::size_t count = 0;
    bool const fits = offset.kind == pickle_kind::integer && offset.integer() >= 0 &&
                      static_cast<std::size_t>(offset.bits) <= record_bytes &&
                      bytes <= record_bytes - static_cast<std::size_t>(offset.bits);
    bool const counted = field.dims.try_count(count) &&
                         (type->item_bytes == 0 || count <= bytes / type->item_bytes) &&
                         count * type->item_bytes == bytes;
    if (!fits || !counted) return refuse("a field does not fit in its record");
    auto fields = read_fields(type_at, depth + 1);
    if (!fields) return {};
    field.offset = static_cast<std::size_t>(offset.bits);
    field.type = *type;
    field.fields = std::move(*fields);
    return field;
  }

  /// The description of the field called `name`. A field with a title has a second one, under the
  /// title. The search begins at `from` and leaves it after the match, because NumPy writes fields
  /// in the order of their names.
  pickle_index find_field(pickle_index fields, cursor& from, std::string_view name) const {
    for (auto n = (*tree_)[fields].size; n != 0; --n) {
      if (from.done()) from = tree_->items(fields);
      auto const& key = (*tree_)[from.next()];
      auto const value = from.next();
      if (key.is_text() && tree_->text(key) == name) return value;
    }
    return nowhere;
  }

  static bool has_name_twice(std::vector<record_field> const& fields) {
    std::vector<lazily<std::string_view, Lazy>> names;
    for (auto const& field : fields) names.push_back(field.name);
    return find_twice(names) != nullptr;
  }

  pickle_tree<Lazy> const* tree_;
  std::string reason_{};
  std::uint32_t fields_ = 0;
  std::size_t name_bytes_ = 0;
};

}  // namespace forkmap::detail
