// Objects that a pickle of joblib consists of: arrays, whose data is skipped, NumPy's numbers, and
// values that old protocols write as calls.
//
//   NumpyArrayWrapper()  BUILD {subclass, shape, order, dtype, allow_mmap,
//                               numpy_array_alignment_bytes (joblib 1.2 and later)}
//   then, if that last attribute exists and is not None, a byte n and n bytes of padding; then the
//   data.
//
// Source: joblib/numpy_pickle.py, NumpyArrayWrapper.read and NumpyUnpickler.load_build.
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include <forkmap/detail/array/utf8.hpp>
#include <forkmap/detail/joblib/pickle_input.hpp>
#include <forkmap/detail/joblib/pickle_tree.hpp>
#include <forkmap/detail/joblib/pickled_dtype.hpp>
#include <forkmap/detail/lazily.hpp>

namespace forkmap::detail {

/// The bytes of a value of kind bytes or latin1; nothing for other values.
template <class Lazy = void>
std::optional<lazily<std::string, Lazy>> pickled_bytes(pickle_tree<Lazy> const& tree,
                                                       pickle_value const& value) {
  if (value.kind == pickle_kind::bytes) return std::string(tree.text(value));
  if (value.kind == pickle_kind::latin1) return latin1_from_utf8<Lazy>(tree.text(value));
  return {};
}

template <class Lazy = void> class pickled_objects {
 public:
  pickled_objects(pickle_tree<Lazy>& tree, pickle_input<Lazy>& in) : tree_(&tree), in_(&in) {}

  pickle_index find(std::string_view module, std::string_view name) {
    auto const found = find_global<Lazy>(module, name);
    if (!found) in_->fail(refusal_of_global(module, name));
    return tree_->add(pickle_kind::global, 0, static_cast<std::uint64_t>(*found));
  }

  /// NEWOBJ: an object of a class, before its state.
  pickle_index make(pickle_index callee, pickle_index arguments) {
    if (called(callee) != pickle_global::wrapper || (*tree_)[arguments].size != 0) refuse_call();
    return tree_->add(pickle_kind::wrapper);
  }

  /// REDUCE: the value that a call would return.
  pickle_index call(pickle_index callee, pickle_index arguments) {
    auto const function = called(callee);
    if ((*tree_)[arguments].kind != pickle_kind::tuple) refuse_call();
    std::array<pickle_index, 3> values{};
    std::size_t count = 0;
    for (auto items = tree_->items(arguments); !items.done(); ++count) {
      if (count == values.size()) refuse_call();
      values[count] = items.next();
    }
    auto const is = [&](std::size_t i, pickle_kind kind) {
      return i < count && (*tree_)[values[i]].kind == kind;
    };
    switch (function) {
      case pickle_global::dtype:
        if (!is(0, pickle_kind::text)) break;
        return tree_->add(pickle_kind::dtype, pickle_tree<Lazy>::none, values[0]);
      case pickle_global::scalar:
        if (count == 2) return scalar(values[0], values[1]);
        break;
      case pickle_global::encode:
        if (count == 2 && is(0, pickle_kind::text) && is_latin1((*tree_)[values[1]])) {
          return latin1((*tree_)[values[0]]);
        }
        break;
      case pickle_global::bytes:
        if (count == 0) return tree_->add(pickle_kind::bytes);
        if (count == 1 && (is(0, pickle_kind::bytes) || is(0, pickle_kind::latin1)))
          return values[0];
        if (count == 2 && is(0, pickle_kind::text) && is_latin1((*tree_)[values[1]])) {
          return latin1((*tree_)[values[0]]);
        }
        break;
      case pickle_global::set:
        if (count == 0) return tree_->add(pickle_kind::set);
        if (count == 1 && is(0, pickle_kind::list)) {
          auto const list = (*tree_)[values[0]];
          return tree_->add(pickle_kind::set, list.size, list.bits);
        }
        break;
      case pickle_global::ordered_dict:
        if (count == 0) return tree_->add(pickle_kind::dict);
        break;
      default:
        break;
    }
    refuse_call();
  }

  /// BUILD: sets the state of an object. Returns: the object; for a wrapper, its array.
  pickle_index build(pickle_index object, pickle_index state) {
    auto& value = (*tree_)[object];
    if (value.kind == pickle_kind::wrapper) return array(state);
    // A second state would change arrays that have been read.
    if (value.kind != pickle_kind::dtype || value.size != pickle_tree<Lazy>::none ||
        (*tree_)[state].kind != pickle_kind::tuple) {
      in_->fail("the opcode sets the state of a value that has none");
    }
    value.size = state;
    return object;
  }

 private:
  pickle_global called(pickle_index callee) const {
    auto const& value = (*tree_)[callee];
    if (value.kind != pickle_kind::global)
      in_->fail("the pickle calls a value that is not a class or function");
    return static_cast<pickle_global>(value.bits);
  }

  [[noreturn]] void refuse_call() const {
    in_->fail("the pickle has a call with arguments that joblib does not write");
  }

  bool is_latin1(pickle_value const& value) const {
    return value.is_text() && (tree_->text(value) == "latin1" || tree_->text(value) == "latin-1");
  }

  /// Refers to the text without a copy, because a file can repeat the call many times.
  pickle_index latin1(pickle_value const& text) {
    return tree_->add(pickle_kind::latin1, text.size, text.bits);
  }

  /// np.float64(2.5), np.str_("a"), np.bytes_(b"a"): a dtype and its bytes.
  pickle_index scalar(pickle_index type_at, pickle_index value_at) {
    pickled_types<Lazy> types(*tree_);
    auto const type = types.read_type(type_at);
    if (!type) in_->fail(types.reason());
    auto const& value = (*tree_)[value_at];
    bool const bytes = value.kind == pickle_kind::bytes || value.kind == pickle_kind::latin1;
    if (type->kind == 'S' && bytes) return value_at;
    return type->kind == 'U' && bytes ? unicode(*type, value) : number(*type, value);
  }

  /// Converts UTF-32 to UTF-8.
  pickle_index unicode(dtype const& type, pickle_value const& value) {
    // Limits the copies to the bytes taken from the file, which can use the same bytes many times.
    unicode_bytes_ += value.size;
    if (unicode_bytes_ > in_->taken())
      in_->fail("the pickle uses the same bytes for too many NumPy texts");
    auto const bytes = pickled_bytes(*tree_, value);
    if (!bytes || bytes->size() != type.item_bytes) refuse_scalar(type);
    auto& characters = tree_->characters();
    auto const begin = characters.size();
    for (std::size_t at = 0; at != bytes->size(); at += sizeof(char32_t)) {
      std::uint32_t point = 0;
      for (std::size_t i = 0; i < sizeof(char32_t); ++i) {
        auto const from = type.byte_order == '>' ? sizeof(char32_t) - 1 - i : i;
        point |= std::uint32_t{static_cast<unsigned char>((*bytes)[at + from])} << (8 * i);
      }
      append_utf8(characters, point);
    }
    return tree_->add(pickle_kind::text, static_cast<std::uint32_t>(characters.size() - begin),
                      begin);
  }

  pickle_index number(dtype const& type, pickle_value const& value) {
    auto const small = value.size <= 2 * sizeof(std::uint64_t);
    auto const bytes = small ? pickled_bytes(*tree_, value) : std::nullopt;
    if (!bytes || bytes->size() != type.item_bytes || bytes->size() > sizeof(std::uint64_t)) {
      refuse_scalar(type);
    }
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < bytes->size(); ++i) {
      auto const at = type.byte_order == '>' ? bytes->size() - 1 - i : i;
      bits |= std::uint64_t{static_cast<unsigned char>((*bytes)[at])} << (8 * i);
    }
    auto const unused = 64 - 8 * bytes->size();
    switch (type.kind) {
      case 'b':
        return bits != 0 ? pickle_tree<Lazy>::yes : pickle_tree<Lazy>::no;
      case 'i':
        return tree_->add(static_cast<std::int64_t>(bits << unused) >> unused);
      case 'u':
        return tree_->add(bits >> 63U != 0 ? pickle_kind::natural : pickle_kind::integer, 0, bits);
      case 'f':
        if (bytes->size() == sizeof(double)) return tree_->add(std::bit_cast<double>(bits));
        if (bytes->size() == sizeof(float)) {
          auto const single = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
          return tree_->add(static_cast<double>(single));
        }
        break;
      default:
        break;
    }
    refuse_scalar(type);
  }

  [[noreturn]] void refuse_scalar(dtype const& type) const {
    in_->fail("a NumPy scalar of dtype " + in_quotes(spelling(type)) +
              " is not supported; make it a Python number or an array before joblib.dump");
  }

  pickle_index array(pickle_index state) {
    constexpr std::uint32_t most_attributes = 16;
    if ((*tree_)[state].kind != pickle_kind::dict || (*tree_)[state].size > most_attributes) {
      in_->fail("a NumpyArrayWrapper does not have the attributes that joblib writes");
    }
    std::optional<lazily<pickle_index, Lazy>> dims, order, type, mappable, alignment;
    for (auto items = tree_->items(state); !items.done();) {
      auto const key = items.next();
      auto const value = items.next();
      if (!(*tree_)[key].is_text())
        in_->fail("a NumpyArrayWrapper has an attribute whose name is not a text");
      auto const name = tree_->text(key);
      if (name == "filename") in_->fail(refusal_of_global("", "NDArrayWrapper"));
      for (auto const& [known, place] :
           {attribute{"shape", &dims}, attribute{"order", &order}, attribute{"dtype", &type},
            attribute{"allow_mmap", &mappable},
            attribute{"numpy_array_alignment_bytes", &alignment}}) {
        if (name == known) *place = value;
      }
    }
    if (!dims || !order || !type) in_->fail("a NumpyArrayWrapper lacks shape, order or dtype");
    if (mappable == pickle_tree<Lazy>::no) in_->fail(std::string(pickled_types<Lazy>::objects));
    pickled_types<Lazy> types(*tree_);
    auto const element = types.read_type(*type);
    auto const extents = element ? types.read_shape(*dims) : std::nullopt;
    if (!extents) in_->fail(types.reason());
    auto const& layout = (*tree_)[*order];
    auto const letter = layout.is_text() ? tree_->text(layout) : std::string_view();
    if (letter != "C" && letter != "F") in_->fail("an array has neither order 'C' nor 'F'");

    if (alignment && (*tree_)[*alignment].kind != pickle_kind::none) {
      std::size_t const padding = in_->byte();
      in_->check_left(padding);
      in_->skip(padding);
    }
    std::size_t count = 0;
    auto const left = in_->source().size() - in_->position();
    auto const item_bytes = element->item_bytes;
    if (!extents->try_count(count) || (item_bytes != 0 && count > left / item_bytes)) {
      in_->fail("an array has dims " + extents->text() + " of " + in_quotes(spelling(*element)) +
                ", which needs more than the " + std::to_string(left) + " bytes left in the file");
    }
    auto const offset = in_->position();
    in_->skip(count * item_bytes);
    return tree_->add_array({*dims, *type, letter == "F", offset, count * item_bytes});
  }

  struct attribute {
    std::string_view name;
    std::optional<lazily<pickle_index, Lazy>>* place;
  };

  pickle_tree<Lazy>* tree_;
  pickle_input<Lazy>* in_;
  std::size_t unicode_bytes_ = 0;  // of all NumPy texts
};

}  // namespace forkmap::detail
