// Content of a pickle: a tree of plain values in one arena, without pointers and classes, and the
// stack and the memo that opcodes use.
// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <forkmap/detail/joblib/pickle_input.hpp>
#include <forkmap/detail/lazily.hpp>

namespace forkmap::detail {

enum class pickle_kind : std::uint8_t {
  none,
  boolean,
  integer,
  natural,        // an integer that needs the 64th bit
  large_integer,  // an integer of more than 64 bits, whose value is not kept
  real,
  text,
  bytes,
  latin1,  // bytes, stored as a text whose code points are the bytes
  list,
  tuple,
  set,
  dict,
  array,
  global,   // a class or a function of the allow-list
  dtype,    // numpy.dtype
  wrapper,  // joblib's NumpyArrayWrapper, before it became an array
};

/// Index of a value in the arena. 32 bits suffice: a pickle has far fewer values.
using pickle_index = std::uint32_t;

struct pickle_value {
  pickle_kind kind = pickle_kind::none;
  std::uint32_t size = 0;  // bytes of text, items of a container, pairs of a dict
  std::uint64_t bits = 0;  // a number, a text's position, first and last cell, or an index

  double real() const { return std::bit_cast<double>(bits); }
  std::int64_t integer() const { return static_cast<std::int64_t>(bits); }
  bool is_text() const { return kind == pickle_kind::text; }
  bool is_sequence() const {
    return kind == pickle_kind::list || kind == pickle_kind::tuple || kind == pickle_kind::set;
  }
  bool is_container() const { return is_sequence() || kind == pickle_kind::dict; }
};
static_assert(sizeof(pickle_value) == 16);

/// An array as its wrapper describes it. Its dims and type have been checked.
struct pickled_array {
  pickle_index dims;
  pickle_index type;
  bool fortran;
  std::size_t offset;
  std::size_t bytes;
};

template <class Lazy = void> class pickle_tree {
  struct cell {
    pickle_index value;
    std::uint32_t next;
  };

 public:
  // Values that always exist, so that no file can add them many times.
  static constexpr pickle_index none = 0;
  static constexpr pickle_index no = 1;
  static constexpr pickle_index yes = 2;
  static constexpr pickle_index empty_tuple = 3;

  // One byte of a file can take about thirty bytes here.
  static constexpr std::size_t most_values = std::size_t{1} << 26U;

  pickle_tree()
      : values_{{pickle_kind::none, 0, 0},
                {pickle_kind::boolean, 0, 0},
                {pickle_kind::boolean, 0, 1},
                {pickle_kind::tuple, 0, 0}} {}

  pickle_value const& operator[](pickle_index at) const { return values_[at]; }
  pickle_value& operator[](pickle_index at) { return values_[at]; }
  std::size_t size() const { return values_.size(); }
  /// The number of values and of their places in containers.
  std::size_t places() const { return values_.size() + cells_.size(); }

  /// Whether one more value and one more place can be added.
  bool has_room() const { return values_.size() < most_values && cells_.size() < most_values; }

  pickle_index add(pickle_kind kind, std::uint32_t size = 0, std::uint64_t bits = 0) {
    values_.push_back({kind, size, bits});
    return static_cast<pickle_index>(values_.size() - 1);
  }
  pickle_index add(double value) {
    return add(pickle_kind::real, 0, std::bit_cast<std::uint64_t>(value));
  }
  pickle_index add(std::int64_t value) {
    return add(pickle_kind::integer, 0, static_cast<std::uint64_t>(value));
  }
  pickle_index add_array(pickled_array const& array) {
    arrays_.push_back(array);
    return add(pickle_kind::array, 0, arrays_.size() - 1);
  }

  pickled_array const& array(pickle_value const& value) const { return arrays_[value.bits]; }
  std::size_t arrays() const { return arrays_.size(); }

  /// All texts, one after another. To add a text, append it here and add a value for it.
  std::string& characters() { return characters_; }
  std::string_view text(pickle_value const& value) const {
    return std::string_view(characters_).substr(value.bits, value.size);
  }
  std::string_view text(pickle_index at) const { return text(values_[at]); }

  /// Appends an item to a container; to a dict, a key or the value that follows it. The caller
  /// updates the container's `size`.
  void append(pickle_index container, pickle_index item) {
    auto const place = static_cast<std::uint32_t>(cells_.size());
    cells_.push_back({item, 0});
    auto& value = values_[container];
    if (value.bits == 0) {
      value.bits = first_and_last(place, place);
    } else {
      cells_[last_of(value)].next = place;
      value.bits = first_and_last(first_of(value), place);
    }
  }

  /// Iterates over the items that a container had when the cursor was made; in a dict, over keys
  /// and values in turn. A value that is not a container has no items.
  class cursor {
   public:
    cursor(pickle_tree const& tree, pickle_value const& container)
        : tree_(&tree),
          left_(!container.is_container()             ? 0
                : container.kind == pickle_kind::dict ? 2 * std::size_t{container.size}
                                                      : container.size),
          cell_(left_ == 0 ? 0 : first_of(container)) {}

    bool done() const { return left_ == 0; }
    std::size_t left() const { return left_; }
    /// Precondition: !done().
    pickle_index next() {
      auto const& cell = tree_->cells_[cell_];
      cell_ = cell.next;
      --left_;
      return cell.value;
    }

   private:
    pickle_tree const* tree_;
    std::size_t left_;
    std::uint32_t cell_;
  };

  cursor items(pickle_index container) const { return {*this, values_[container]}; }

  pickle_index root = none;

 private:
  static std::uint64_t first_and_last(std::uint32_t first, std::uint32_t last) {
    return first | std::uint64_t{last} << 32U;
  }
  static std::uint32_t first_of(pickle_value const& value) {
    return static_cast<std::uint32_t>(value.bits);
  }
  static std::uint32_t last_of(pickle_value const& value) {
    return static_cast<std::uint32_t>(value.bits >> 32U);
  }

  std::vector<lazily<pickle_value, Lazy>> values_;
  std::vector<cell> cells_{{0, 0}};  // the first is unused, so that 0 means none
  std::string characters_{};
  std::vector<lazily<pickled_array, Lazy>> arrays_{};
};

// The stack, with marks, and the memo that opcodes use.

template <class Lazy = void> class pickle_stack {
 public:
  explicit pickle_stack(pickle_input<Lazy> const& in) : in_(&in) {}

  /// The number of values and marks.
  std::size_t size() const { return values_.size() + marks_.size(); }
  /// The number of values: the position after the top one.
  std::size_t end() const { return values_.size(); }
  pickle_index operator[](std::size_t at) const { return values_[at]; }

  /// The position of the last mark. No value below it may be taken.
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  /// The position of the first of the top `count` values.
  std::size_t floor_of(std::size_t count) const {
    if (values_.size() - floor() < count)
      in_->fail("the opcode needs more values than there are on the stack");
    return values_.size() - count;
  }
  pickle_index top() const { return values_[floor_of(1)]; }

  void push(pickle_index value) { values_.push_back(value); }
  void cut(std::size_t end) { values_.resize(end); }

  pickle_index take() {
    auto const value = top();
    values_.pop_back();
    return value;
  }

  void mark() { marks_.push_back(values_.size()); }

  /// Removes the top value or mark.
  void pop() {
    if (!marks_.empty() && marks_.back() == values_.size()) {
      marks_.pop_back();
    } else {
      take();
    }
  }

  /// Removes the last mark. Returns: the position of the first value above it.
  std::size_t pop_mark() {
    if (marks_.empty()) in_->fail("the opcode needs a mark, but there is none on the stack");
    auto const begin = marks_.back();
    marks_.pop_back();
    return begin;
  }

  // The memo. MEMOIZE stores at the number of entries, a PUT at the index that it states. No writer
  // states an index above the number of entries, so one above the bytes read so far is refused.

  void remember_next() { remember(memoized_); }

  void remember(std::uint64_t place) {
    if (place >= in_->taken())
      in_->fail("memo index " + std::to_string(place) +
                " is too large for a pickle of this length");
    auto const at = static_cast<std::size_t>(place);
    if (memo_.size() <= at) memo_.resize(at + 1, nothing);
    if (memo_[at] == nothing) ++memoized_;
    memo_[at] = top();
  }

  void recall(std::uint64_t place) {
    if (place >= memo_.size() || memo_[static_cast<std::size_t>(place)] == nothing) {
      in_->fail("memo entry " + std::to_string(place) + " has not been stored");
    }
    push(memo_[static_cast<std::size_t>(place)]);
  }

 private:
  static constexpr pickle_index nothing = ~pickle_index{0};

  pickle_input<Lazy> const* in_;
  std::vector<lazily<pickle_index, Lazy>> values_{};
  std::vector<lazily<std::size_t, Lazy>> marks_{};
  std::vector<lazily<pickle_index, Lazy>> memo_{};
  std::size_t memoized_ = 0;
};

}  // namespace forkmap::detail
