// What a pickle's opcodes work on: a stack with marks, and the memo of values that come again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <forkmap/array/pickle_input.hpp>
#include <forkmap/array/pickle_tree.hpp>
#include <forkmap/system/lazily.hpp>

namespace forkmap::detail {

template <class Lazy = void> class pickle_stack {
 public:
  explicit pickle_stack(pickle_input<Lazy> const& in) : in_(&in) {}

  /// Of values and marks.
  std::size_t size() const { return values_.size() + marks_.size(); }
  /// The end of the values.
  std::size_t end() const { return values_.size(); }
  pickle_index operator[](std::size_t at) const { return values_[at]; }

  /// Nothing below the last mark may be taken.
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  /// Where the topmost `count` values begin.
  std::size_t floor_of(std::size_t count) const {
    if (values_.size() - floor() < count) in_->fail("an opcode that finds too little on the stack");
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

  /// A mark, if that is what is topmost.
  void pop() {
    if (!marks_.empty() && marks_.back() == values_.size()) {
      marks_.pop_back();
    } else {
      take();
    }
  }

  /// Where the values above the last mark begin.
  std::size_t pop_mark() {
    if (marks_.empty()) in_->fail("an opcode that finds no mark on the stack");
    auto const begin = marks_.back();
    marks_.pop_back();
    return begin;
  }

  // The memo. MEMOIZE counts what is in it; a PUT names its place, which no writer makes larger than
  // the count, and no file larger than itself.

  void remember_next() { remember(memoized_); }

  void remember(std::uint64_t place) {
    if (place >= in_->taken()) in_->fail("memo " + std::to_string(place) + " of a pickle so short");
    auto const at = static_cast<std::size_t>(place);
    if (memo_.size() <= at) memo_.resize(at + 1, nothing);
    if (memo_[at] == nothing) ++memoized_;
    memo_[at] = top();
  }

  void recall(std::uint64_t place) {
    if (place >= memo_.size() || memo_[static_cast<std::size_t>(place)] == nothing) {
      in_->fail("memo " + std::to_string(place) + ", which has not been filled");
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
