// What a pickle holds: a tree of plain values in one arena, without a pointer and without a class.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <forkmap/system/lazily.hpp>

namespace forkmap::detail {

enum class pickle_kind : std::uint8_t {
  none,
  boolean,
  integer,
  natural,        // an integer that needs the 64th bit
  large_integer,  // one that does not fit 64 bits: that it is one is all that is known
  real,
  text,
  bytes,
  latin1,  // bytes, kept as text whose code points they are
  list,
  tuple,
  set,
  dict,
  array,
  global,   // a class or a function of the allow-list
  dtype,    // numpy.dtype
  wrapper,  // joblib's NumpyArrayWrapper, before it became an array
};

/// Positions in the arena; a pickle has far fewer values.
using pickle_index = std::uint32_t;

struct pickle_value {
  pickle_kind kind = pickle_kind::none;
  std::uint32_t size = 0;  // bytes of text, items of a container, pairs of a dict
  std::uint64_t bits = 0;  // the number; where the text begins; first and last cell; others' index

  double real() const { return std::bit_cast<double>(bits); }
  std::int64_t integer() const { return static_cast<std::int64_t>(bits); }
  bool is_text() const { return kind == pickle_kind::text; }
  bool is_sequence() const {
    return kind == pickle_kind::list || kind == pickle_kind::tuple || kind == pickle_kind::set;
  }
  bool is_container() const { return is_sequence() || kind == pickle_kind::dict; }
};
static_assert(sizeof(pickle_value) == 16);

/// An array as its wrapper described it; dims and type have been looked at.
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
  // These are there from the beginning: no file can make them many.
  static constexpr pickle_index none = 0;
  static constexpr pickle_index no = 1;
  static constexpr pickle_index yes = 2;
  static constexpr pickle_index empty_tuple = 3;

  // What takes one byte in a file takes about thirty here.
  static constexpr std::size_t most_values = std::size_t{1} << 26U;

  pickle_tree()
      : values_{{pickle_kind::none, 0, 0},
                {pickle_kind::boolean, 0, 0},
                {pickle_kind::boolean, 0, 1},
                {pickle_kind::tuple, 0, 0}} {}

  pickle_value const& operator[](pickle_index at) const { return values_[at]; }
  pickle_value& operator[](pickle_index at) { return values_[at]; }
  std::size_t size() const { return values_.size(); }
  /// Values and the places where they stand in containers.
  std::size_t places() const { return values_.size() + cells_.size(); }

  /// Whether there is room for one more of everything.
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

  /// All texts, one after another: what reads one appends it and adds a value for it.
  std::string& characters() { return characters_; }
  std::string_view text(pickle_value const& value) const {
    return std::string_view(characters_).substr(value.bits, value.size);
  }
  std::string_view text(pickle_index at) const { return text(values_[at]); }

  /// Puts another value into a container; into a dict a key or the value after it, whose `size` the
  /// caller counts.
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

  /// Walks over the items of a container as they were when this was made; in a dict a key and its
  /// value in turn. What is no container has none.
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
    /// Only before done().
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
  std::vector<cell> cells_{{0, 0}};  // so that 0 is no place
  std::string characters_{};
  std::vector<lazily<pickled_array, Lazy>> arrays_{};
};

}  // namespace forkmap::detail
