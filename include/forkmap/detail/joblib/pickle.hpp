// Reader of Python's pickle, protocols 2 to 5: an opcode machine that makes plain values and
// arrays, and refuses everything else. It calls nothing. Its memory grows only with the bytes read.
//
// Source: cpython's Lib/pickletools.py and Modules/_pickle.c.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/array/utf8.hpp>
#include <forkmap/detail/joblib/pickle_input.hpp>
#include <forkmap/detail/joblib/pickle_tree.hpp>
#include <forkmap/detail/joblib/pickled_objects.hpp>

namespace forkmap::detail {

template <class Lazy = void> class pickle_machine {
 public:
  explicit pickle_machine(byte_source const& source) : in_(source) {}

  /// Reads up to STOP. Bytes after it are ignored.
  ///
  /// Errors: format_error with the position, for everything that plain values and arrays do not
  ///   need, and for a pickle that is truncated or malformed.
  pickle_tree<Lazy> run() {
    while (step()) {
    }
    return std::move(tree_);
  }

 private:
  bool step() {
    opcode_at_ = in_.position();
    if (!tree_.has_room() || stack_.size() > pickle_tree<Lazy>::most_values) {
      fail("the pickle has more values than the limit of 67 million");
    }
    auto const opcode = in_.byte();
    using enum pickle_opcode;
    // clang-format off
    switch (static_cast<pickle_opcode>(opcode)) {
      case proto: protocol(); break;
      case frame: in_.take(8); break;
      case stop: finish(); return false;

      case mark: stack_.mark(); break;
      case pop: stack_.pop(); break;
      case pop_mark: stack_.cut(stack_.pop_mark()); break;
      case dup: push(stack_.top()); break;

      case none: push(pickle_tree<Lazy>::none); break;
      case newtrue: push(pickle_tree<Lazy>::yes); break;
      case newfalse: push(pickle_tree<Lazy>::no); break;
      case binint: integer(static_cast<std::int32_t>(in_.number(4))); break;
      case binint1: integer(in_.byte()); break;
      case binint2: integer(static_cast<std::int64_t>(in_.number(2))); break;
      case long1: long_integer(in_.byte()); break;
      case long4: long_integer(in_.number(4)); break;
      case binfloat: real(); break;

      case short_binunicode: text(pickle_kind::text, in_.byte()); break;
      case binunicode: text(pickle_kind::text, in_.number(4)); break;
      case binunicode8: text(pickle_kind::text, in_.number(8)); break;
      case short_binstring: text(pickle_kind::text, in_.byte()); break;
      case binstring: text(pickle_kind::text, in_.number(4)); break;
      case short_binbytes: text(pickle_kind::bytes, in_.byte()); break;
      case binbytes: text(pickle_kind::bytes, in_.number(4)); break;
      case binbytes8: case bytearray8: text(pickle_kind::bytes, in_.number(8)); break;

      case empty_tuple: push(pickle_tree<Lazy>::empty_tuple); break;
      case empty_list: push(tree_.add(pickle_kind::list)); break;
      case empty_dict: push(tree_.add(pickle_kind::dict)); break;
      case empty_set: push(tree_.add(pickle_kind::set)); break;
      case tuple1: collect(pickle_kind::tuple, stack_.floor_of(1)); break;
      case tuple2: collect(pickle_kind::tuple, stack_.floor_of(2)); break;
      case tuple3: collect(pickle_kind::tuple, stack_.floor_of(3)); break;
      case tuple: collect(pickle_kind::tuple, stack_.pop_mark()); break;
      case list: collect(pickle_kind::list, stack_.pop_mark()); break;
      case dict: collect(pickle_kind::dict, stack_.pop_mark()); break;
      case frozenset: collect(pickle_kind::set, stack_.pop_mark()); break;
      case append: extend(pickle_kind::list, stack_.floor_of(1)); break;
      case appends: extend(pickle_kind::list, stack_.pop_mark()); break;
      case additems: extend(pickle_kind::set, stack_.pop_mark()); break;
      case setitem: extend(pickle_kind::dict, stack_.floor_of(2)); break;
      case setitems: extend(pickle_kind::dict, stack_.pop_mark()); break;

      case memoize: stack_.remember_next(); break;
      case binput: stack_.remember(in_.byte()); break;
      case long_binput: stack_.remember(in_.number(4)); break;
      case binget: stack_.recall(in_.byte()); break;
      case long_binget: stack_.recall(in_.number(4)); break;

      case global: named_global(); break;
      case stack_global: stacked_global(); break;
      case newobj: apply(&pickled_objects<Lazy>::make); break;
      case reduce: apply(&pickled_objects<Lazy>::call); break;
      case build: apply(&pickled_objects<Lazy>::build); break;
      default: fail(refusal_of_opcode(opcode));
    }
    // clang-format on
    return true;
  }

  [[noreturn]] void fail(std::string const& problem) const { in_.fail_at(opcode_at_, problem); }

  void protocol() {
    auto const version = in_.byte();
    if (version < 2 || version > 5) {
      fail("pickle protocol " + std::to_string(version) + " is not supported; 2 to 5 are");
    }
  }

  void finish() {
    if (stack_.end() != 1 || stack_.size() != 1)
      fail("the pickle does not end with exactly one value");
    tree_.root = stack_[0];
  }

  void push(pickle_index value) { stack_.push(value); }

  void integer(std::int64_t value) { push(tree_.add(value)); }

  void long_integer(std::uint64_t bytes) {
    if (bytes > sizeof(std::uint64_t) + 1) {
      in_.check_left(bytes);
      while (bytes != 0) {  // taken, not skipped: only taken bytes count as read
        auto const piece = std::min<std::uint64_t>(bytes, pickle_input<Lazy>::most_taken);
        in_.take(static_cast<std::size_t>(piece));
        bytes -= piece;
      }
      push(tree_.add(pickle_kind::large_integer));
      return;
    }
    auto const text = in_.take(static_cast<std::size_t>(bytes));
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < text.size() && i < sizeof bits; ++i) {
      bits |= std::uint64_t{static_cast<unsigned char>(text[i])} << (8 * i);
    }
    if (text.size() > sizeof bits) {
      // The ninth byte is the sign.
      bool const top_bit = bits >> 63U != 0;
      if (text.back() == '\0') {
        push(tree_.add(top_bit ? pickle_kind::natural : pickle_kind::integer, 0, bits));
      } else {
        bool const small = text.back() == '\xff' && top_bit;
        push(tree_.add(small ? pickle_kind::integer : pickle_kind::large_integer, 0, bits));
      }
      return;
    }
    auto const unused = text.empty() ? 0 : 64 - 8 * text.size();
    integer(static_cast<std::int64_t>(bits << unused) >> unused);
  }

  void real() {
    std::uint64_t bits = 0;
    for (char const c : in_.take(8)) bits = bits << 8U | static_cast<unsigned char>(c);
    push(tree_.add(std::bit_cast<double>(bits)));
  }

  void text(pickle_kind kind, std::uint64_t bytes) {
    auto const begin = tree_.characters().size();
    in_.append_to(tree_.characters(), bytes);
    // Strings of Python 2 and lone surrogates are not UTF-8. They become bytes.
    if (kind == pickle_kind::text && !is_utf8(std::string_view(tree_.characters()).substr(begin))) {
      kind = pickle_kind::bytes;
    }
    push(tree_.add(kind, static_cast<std::uint32_t>(bytes), begin));
  }

  // Containers of the values on the stack from `begin` on.

  void collect(pickle_kind kind, std::size_t begin) {
    auto const container = tree_.add(kind);
    fill(container, begin);
    push(container);
  }

  void extend(pickle_kind kind, std::size_t begin) {
    if (begin <= stack_.floor())
      fail("the opcode needs a container, but there is none on the stack");
    auto const container = stack_[begin - 1];
    if (tree_[container].kind != kind)
      fail("the opcode adds an item to a value that is not such a container");
    fill(container, begin);
  }

  void fill(pickle_index container, std::size_t begin) {
    auto const count = stack_.end() - begin;
    bool const pairs = tree_[container].kind == pickle_kind::dict;
    if (pairs && count % 2 != 0) fail("a dict has a key without a value");
    for (auto i = begin; i < stack_.end(); ++i) tree_.append(container, stack_[i]);
    tree_[container].size += static_cast<std::uint32_t>(pairs ? count / 2 : count);
    stack_.cut(begin);
  }

  void named_global() {
    auto const module = in_.line();
    auto const name = in_.line();
    push(objects_.find(module, name));
  }

  void stacked_global() {
    auto const begin = stack_.floor_of(2);
    if (!tree_[stack_[begin]].is_text() || !tree_[stack_[begin + 1]].is_text()) {
      fail("the name of a class is not a text");
    }
    auto const object = objects_.find(tree_.text(stack_[begin]), tree_.text(stack_[begin + 1]));
    stack_.cut(begin);
    push(object);
  }

  /// Replaces the top two values by the result of `operation`.
  void apply(pickle_index (pickled_objects<Lazy>::*operation)(pickle_index, pickle_index)) {
    stack_.floor_of(2);
    auto const second = stack_.take();
    auto const first = stack_.take();
    push((objects_.*operation)(first, second));
  }

  pickle_input<Lazy> in_;
  pickle_tree<Lazy> tree_{};
  pickled_objects<Lazy> objects_{tree_, in_};
  pickle_stack<Lazy> stack_{in_};
  std::size_t opcode_at_ = 0;
};

}  // namespace forkmap::detail
