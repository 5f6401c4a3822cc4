// Names of the values of a pickle: "weights[0]", "model.layers[2].w", "['a b']".
//
// An item of a list or a tuple is named [index]. An item of a dict is named .key if the key is a
// Python identifier, else [key] as Python writes the key. A name does not begin with a dot.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <forkmap/detail/array/descr.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/array/utf8.hpp>
#include <forkmap/detail/joblib/pickle_tree.hpp>
#include <forkmap/detail/lazily.hpp>

namespace forkmap::detail {

template <class Lazy = void> bool is_identifier(std::string_view text) {
  auto const letter = [](char c) {
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  return !text.empty() && letter(text[0]) && std::all_of(text.begin(), text.end(), [&](char c) {
    return letter(c) || (c >= '0' && c <= '9');
  });
}

/// A float as Python writes it: the shortest form, with a decimal point.
template <class Lazy = void> std::string real_literal(double value) {
  char text[32];
  auto const [end, error] = std::to_chars(text, text + sizeof text, value);
  std::string result(text, error == std::errc{} ? end : text);
  if (result.find_first_of(".en") == std::string::npos) result += ".0";
  return result;
}

/// A bytes literal as Python writes it: b'...'.
template <class Lazy = void> std::string bytes_literal(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  constexpr std::string_view named = "\t\n\r";
  constexpr std::string_view letters = "tnr";
  bool const doubled = bytes.find('\'') != bytes.npos && bytes.find('"') == bytes.npos;
  char const quote = doubled ? '"' : '\'';
  std::string result = {'b', quote};
  for (char const c : bytes) {
    auto const byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      result += {'\\', c};
    } else if (byte >= 0x20 && byte < 0x7f) {
      result += c;
    } else if (auto const letter = named.find(c); letter != named.npos) {
      result += {'\\', letters[letter]};
    } else {
      result += {'\\', 'x', digits[byte >> 4U], digits[byte & 15U]};
    }
  }
  return result + quote;
}

/// A dict's key as Python writes it. A key that is not a plain value, or that can be shared and is
/// too long to be written at each of its places, becomes "...". `depth` and `room` are for tuples.
template <class Lazy = void>
std::string key_literal(pickle_tree<Lazy> const& tree, pickle_index at, int depth = 0,
                        std::size_t room = 1024) {
  constexpr std::uint32_t longest = 256;
  constexpr std::string_view left_out = "...";
  auto const& key = tree[at];
  switch (key.kind) {
    case pickle_kind::none:
      return "None";
    case pickle_kind::boolean:
      return key.bits != 0 ? "True" : "False";
    case pickle_kind::integer:
      return std::to_string(key.integer());
    case pickle_kind::natural:
      return std::to_string(key.bits);
    case pickle_kind::real:
      return real_literal(key.real());
    case pickle_kind::text:
      if (depth != 0 && key.size > std::min<std::size_t>(longest, room)) {
        return std::string(left_out);
      }
      return quoted_literal(tree.text(key));
    case pickle_kind::bytes:
      if (key.size > std::min<std::size_t>(longest, room)) return std::string(left_out);
      return bytes_literal(tree.text(key));
    case pickle_kind::latin1: {
      if (key.size > std::min<std::size_t>(longest, room)) return std::string(left_out);
      auto const bytes = latin1_from_utf8<Lazy>(tree.text(key));
      return bytes ? bytes_literal(*bytes) : std::string(left_out);
    }
    case pickle_kind::tuple: {
      constexpr std::uint32_t most_items = 16;
      constexpr int deepest = 8;
      if (depth == deepest || key.size > most_items || room == 0) return "(...)";
      std::string result = "(";
      for (auto items = tree.items(at); !items.done();) {
        auto const left = room - std::min(room, result.size());
        result += key_literal(tree, items.next(), depth + 1, left);
        if (!items.done() || key.size == 1) result += items.done() ? "," : ", ";
      }
      return result + ")";
    }
    default:
      return std::string(left_out);
  }
}

/// Extends the name of a container to that of one of its items. `key` is used for dicts only.
template <class Lazy = void>
void append_step(std::string& name, pickle_tree<Lazy> const& tree, pickle_value const& container,
                 std::size_t index, pickle_index key) {
  if (container.kind != pickle_kind::dict) {
    name += "[" + std::to_string(index) + "]";
  } else if (tree[key].is_text() && is_identifier(tree.text(key))) {
    name.append(name.empty() ? "" : ".").append(tree.text(key));
  } else {
    name += "[" + key_literal(tree, key) + "]";
  }
}

/// A value as error texts describe it: "an int", "a list of 3".
template <class Lazy = void> std::string described(pickle_value const& value) {
  auto const sized = [&value](std::string_view kind) {
    return std::string(kind) + " of " + std::to_string(value.size);
  };
  switch (value.kind) {
    case pickle_kind::none:
      return "None";
    case pickle_kind::boolean:
      return "a bool";
    case pickle_kind::integer:
    case pickle_kind::natural:
      return "an int";
    case pickle_kind::large_integer:
      return "an int of more than 64 bits";
    case pickle_kind::real:
      return "a float";
    case pickle_kind::text:
      return "a str";
    case pickle_kind::bytes:
    case pickle_kind::latin1:
      return "bytes";
    case pickle_kind::list:
      return sized("a list");
    case pickle_kind::tuple:
      return sized("a tuple");
    case pickle_kind::set:
      return sized("a set");
    case pickle_kind::dict:
      return sized("a dict");
    case pickle_kind::array:
      return "an array";
    case pickle_kind::dtype:
      return "a numpy.dtype";
    default:
      return "a class";
  }
}

/// Finds values by their names.
template <class Lazy = void> class pickle_path {
 public:
  explicit pickle_path(pickle_tree<Lazy> const& tree) : tree_(&tree) {}

  /// The value called `name`, or nothing: why_not() then gives the error text.
  std::optional<lazily<pickle_index, Lazy>> find(std::string_view name) {
    at_ = tree_->root;
    here_ = 0;
    ambiguous_ = false;
    name_ = name;
    while (here_ < name.size()) {
      auto const next = step(name.substr(here_));
      if (ambiguous_) return {};
      if (!next) {
        // The whole name may be one key that looks like a path: "layer.0.weight".
        if ((*tree_)[tree_->root].kind != pickle_kind::dict) return {};
        return find_key(tree_->root, name);
      }
      at_ = next->first;
      here_ += next->second;
    }
    return at_;
  }

  std::string why_not() const {
    auto const so_far = std::string(name_.substr(0, here_));
    auto const& container = (*tree_)[at_];
    auto const parent = so_far.empty() ? std::string("the file") : in_quotes(so_far);
    if (ambiguous_) {
      return in_quotes(name_) + " is ambiguous: " + parent +
             " has several keys that are written like this; dump it with texts or integers as keys";
    }
    auto const text = "no value is called " + in_quotes(name_) + ": " + parent +
                      (so_far.empty() ? " holds " : " is ");
    if (container.is_container()) return text + described(container) + some_names(at_, so_far);
    return text + described(container);
  }

  /// The names of a few items: " ('a', 'b', ...)".
  std::string some_names(pickle_index at, std::string const& name) const {
    constexpr std::size_t few = 6;
    auto const& container = (*tree_)[at];
    if (!container.is_container() || container.size == 0 || container.kind == pickle_kind::set) {
      return {};
    }
    std::string result = " (";
    std::size_t index = 0;
    for (auto items = tree_->items(at); !items.done(); ++index) {
      if (index == few) return result + ", ...)";
      auto item = name;
      auto const key = items.next();
      append_step(item, *tree_, container, index, key);
      if (container.kind == pickle_kind::dict) items.next();
      result += (index == 0 ? "" : ", ") + in_quotes(item);
    }
    return result + ")";
  }

 private:
  using taken = std::pair<pickle_index, std::size_t>;  // an item, and the length of its step

  std::optional<lazily<pickle_index, Lazy>> find_key(pickle_index dict,
                                                     std::string_view text) const {
    for (auto items = tree_->items(dict); !items.done();) {
      auto const& key = (*tree_)[items.next()];
      auto const value = items.next();
      if (key.is_text() && tree_->text(key) == text) return value;
    }
    return {};
  }

  /// Follows the next step of the name. Sets ambiguous_ if it matches several items.
  std::optional<lazily<taken, Lazy>> step(std::string_view rest) {
    auto const& container = (*tree_)[at_];
    if (container.kind == pickle_kind::dict) {
      return rest[0] == '[' ? bracketed_key(rest) : plain_key(rest);
    }
    bool const indexed =
        container.kind == pickle_kind::list || container.kind == pickle_kind::tuple;
    if (!indexed || rest[0] != '[') return {};
    std::size_t index = 0;
    auto const* const last = rest.data() + rest.size();
    auto const [end, error] = std::from_chars(rest.data() + 1, last, index);
    if (error != std::errc{} || end == last || *end != ']' || index >= container.size) return {};
    auto items = tree_->items(at_);
    while (index-- > 0) items.next();
    return taken{items.next(), static_cast<std::size_t>(end + 1 - rest.data())};
  }

  std::optional<lazily<taken, Lazy>> plain_key(std::string_view rest) const {
    std::size_t const dot = here_ == 0 ? 0 : 1;
    if (dot == 1 && rest[0] != '.') return {};
    auto const end = std::min(rest.find_first_of(".[", dot), rest.size());
    auto const value = find_key(at_, rest.substr(dot, end - dot));
    if (!value) return {};
    return taken{*value, end};
  }

  std::optional<lazily<taken, Lazy>> bracketed_key(std::string_view rest) {
    std::optional<lazily<taken, Lazy>> found;
    for (auto items = tree_->items(at_); !items.done();) {
      auto const key = items.next();
      auto const value = items.next();
      auto const spelled = "[" + key_literal(*tree_, key) + "]";
      if (!rest.starts_with(spelled)) continue;
      ambiguous_ = found.has_value();
      if (ambiguous_) return {};
      found = taken{value, spelled.size()};
      // These keys are unique in a dict, and no other key is written like one of them.
      auto const kind = (*tree_)[key].kind;
      if (kind == pickle_kind::text || kind == pickle_kind::integer) break;
    }
    return found;
  }

  pickle_tree<Lazy> const* tree_;
  pickle_index at_ = pickle_tree<Lazy>::none;
  std::size_t here_ = 0;    // the length of the part of the name that led to at_
  bool ambiguous_ = false;  // whether the next step matches more than one item of at_
  std::string_view name_{};
};

}  // namespace forkmap::detail
