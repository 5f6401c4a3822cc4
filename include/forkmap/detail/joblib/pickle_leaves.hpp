// Leaves of a pickle, the values whose parts have no names: arrays, numbers, texts, and lists of
// only numbers or only texts.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <forkmap/detail/joblib/pickle_names.hpp>
#include <forkmap/detail/joblib/pickle_tree.hpp>

namespace forkmap::detail {

/// Visits the leaves in the file's order, without recursion. A file can hold one container under
/// many names, or inside itself, so the work is limited by the size of the pickle.
template <class Lazy = void> class pickle_leaves {
 public:
  explicit pickle_leaves(pickle_tree<Lazy> const& tree) : tree_(&tree) {
    leaf_ = tree.root;
    root_is_leaf_ = !is_parted(tree.root);
    if (!root_is_leaf_) enter(tree.root);
  }

  /// Goes to the next leaf. False at the end, or if a limit is reached: problem() then says which.
  bool next() {
    if (root_is_leaf_) {
      root_is_leaf_ = false;
      return true;
    }
    while (!open_.empty()) {
      auto& container = open_.back();
      name_.resize(container.name_bytes);
      if (container.items.done()) {
        open_.pop_back();
        continue;
      }
      auto const key = container.items.next();
      auto const& value = (*tree_)[container.at];
      append_step(name_, *tree_, value, container.index++, key);
      leaf_ = value.kind == pickle_kind::dict ? container.items.next() : key;
      work_ += 1 + name_.size() / 32;
      bool const parted = is_parted(leaf_);
      if (work_ > 8 * tree_->places() + 4096 || ++visited_ > 2 * tree_->places() + 64) {
        return fail(
            "containers contain each other, or one has many names; give the name of a value");
      }
      if (!parted) return true;
      if (open_.size() == deepest) return fail("containers are nested more than 64 deep");
      enter(leaf_);
    }
    return false;
  }

  std::string const& name() const { return name_; }
  pickle_index value() const { return leaf_; }
  std::string_view problem() const { return problem_; }

  /// The kind of all items of a list, a tuple or a set: "float" for a mix of floats and ints. Empty
  /// if the kinds differ, or are neither numbers nor texts.
  std::string_view common_kind(pickle_index at) {
    auto const name = [](pickle_kind kind) -> std::string_view {
      switch (kind) {
        case pickle_kind::boolean:
          return "bool";
        case pickle_kind::integer:
        case pickle_kind::natural:
          return "int";
        case pickle_kind::real:
          return "float";
        case pickle_kind::text:
          return "str";
        case pickle_kind::bytes:
        case pickle_kind::latin1:
          return "bytes";
        default:
          return {};
      }
    };
    if (!(*tree_)[at].is_sequence()) return {};
    std::string_view common;
    for (auto items = tree_->items(at); !items.done(); ++work_) {
      auto const kind = name((*tree_)[items.next()].kind);
      bool const number =
          (kind == "int" || kind == "float") && (common == "int" || common == "float");
      if (kind.empty() || !(common.empty() || common == kind || number)) return {};
      if (common != "float") common = kind;
    }
    return common;
  }

 private:
  static constexpr std::size_t deepest = 64;

  struct opened {
    pickle_index at;
    pickle_tree<Lazy>::cursor items;
    std::size_t index;
    std::size_t name_bytes;
  };

  /// Whether the value's parts have names. An empty container is a leaf, so that it is listed, too.
  bool is_parted(pickle_index at) {
    auto const& value = (*tree_)[at];
    if (!value.is_container() || value.size == 0 || value.kind == pickle_kind::set) return false;
    return value.kind == pickle_kind::dict || common_kind(at).empty();
  }

  void enter(pickle_index at) { open_.push_back({at, tree_->items(at), 0, name_.size()}); }

  bool fail(std::string_view problem) {
    problem_ = problem;
    open_.clear();
    return false;
  }

  pickle_tree<Lazy> const* tree_;
  std::vector<opened> open_{};
  std::string name_{};
  pickle_index leaf_ = pickle_tree<Lazy>::none;
  bool root_is_leaf_ = false;
  std::size_t work_ = 0;
  std::size_t visited_ = 0;
  std::string_view problem_{};
};

}  // namespace forkmap::detail
