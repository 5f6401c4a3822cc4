// From a file's elements to those asked for: whether they are the same, and if so, how each part
// gets to its place. No I/O.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/array/dtype.hpp>
#include <forkmap/array/literal.hpp>
#include <forkmap/array/record.hpp>

namespace forkmap::detail {

/// '<f8' (double).
template <class Lazy = void> std::string spelling_and_name(dtype const& type) {
  auto const cpp = cpp_name(type);
  return in_quotes(spelling(type)) + (cpp.empty() ? cpp : " (" + cpp + ")");
}

template <class Lazy = void> bool same_scalar(dtype const& a, dtype const& b) {
  return a.kind == b.kind && a.item_bytes == b.item_bytes;
}

/// The file's field that a field of the type asked for means: that of its name, or, where C++ does
/// not know names, the one at its position. Null if there is none.
template <class Lazy = void>
record_field const* matching_field(element_type const& file, element_type const& wanted,
                                   std::size_t i) {
  auto const& name = wanted.fields[i].name;
  if (name.empty()) return i < file.fields.size() ? &file.fields[i] : nullptr;
  auto const found = std::find_if(file.fields.begin(), file.fields.end(),
                                  [&name](auto const& field) { return field.name == name; });
  return found == file.fields.end() ? nullptr : &*found;
}

/// Says field by field what a record of a file is that the one asked for is not.
template <class Lazy = void> class record_comparison {
 public:
  record_comparison(element_type const& file, element_type const& wanted) {
    compare(file, wanted, "");
  }

  /// They hold the same, though perhaps at other places.
  bool same() const { return differences_.empty(); }
  /// Byte for byte.
  bool same_places() const { return same() && moved_.empty(); }

  std::string differences() const { return joined(differences_); }
  std::string moved() const { return joined(moved_); }

 private:
  using strings = std::vector<std::string>;

  static std::string joined(strings const& all) {
    constexpr std::size_t most = 8;
    std::string result;
    for (std::size_t i = 0; i < std::min(all.size(), most); ++i) {
      result += (i == 0 ? "" : "; ") + all[i];
    }
    if (all.size() > most) result += "; and " + std::to_string(all.size() - most) + " more";
    return result;
  }

  /// `outer` is what stands before the names: "position.".
  void compare(element_type const& file, element_type const& wanted, std::string const& outer) {
    if (file.type.item_bytes != wanted.type.item_bytes) {
      moved_.push_back((outer.empty() ? "records" : in_quotes(outer.substr(0, outer.size() - 1))) +
                       " of " + std::to_string(file.type.item_bytes) + " bytes, not " +
                       std::to_string(wanted.type.item_bytes));
    }
    std::vector<bool> meant(file.fields.size());
    for (std::size_t i = 0; i < wanted.fields.size(); ++i) {
      auto const* const field = matching_field(file, wanted, i);
      auto const& other = wanted.fields[i];
      if (field == nullptr) {
        differences_.push_back(
            "the file has no field " +
            (other.name.empty() ? std::to_string(i) : in_quotes(outer + other.name)) + " of " +
            spelling_and_name(other.type));
        continue;
      }
      meant[static_cast<std::size_t>(field - file.fields.data())] = true;
      compare_field(*field, other, in_quotes(outer + field->name), outer + field->name + ".");
    }
    for (std::size_t i = 0; i < file.fields.size(); ++i) {
      if (meant[i]) continue;
      differences_.push_back("the file's field " + in_quotes(outer + file.fields[i].name) + " of " +
                             spelling_and_name(file.fields[i].type) + " is not asked for");
    }
  }

  void compare_field(record_field const& file, record_field const& wanted, std::string const& name,
                     std::string const& inner) {
    auto const what = [](record_field const& field) {
      return field.fields.empty() ? spelling_and_name(field.type) : std::string("a record");
    };
    if (file.fields.empty() != wanted.fields.empty() ||
        (file.fields.empty() && !same_scalar(file.type, wanted.type))) {
      differences_.push_back(name + " is " + what(file) + " in the file, not " + what(wanted));
      return;
    }
    if (!(file.dims == wanted.dims)) {
      differences_.push_back(name + " has dims " + file.dims.text() + " in the file, not " +
                             wanted.dims.text());
      return;
    }
    if (file.offset != wanted.offset) {
      moved_.push_back(name + " at byte " + std::to_string(file.offset) + ", not " +
                       std::to_string(wanted.offset));
    }
    if (file.fields.empty() && file.type.byte_order != wanted.type.byte_order) {
      moved_.push_back(name + " as " + in_quotes(spelling(file.type)));
    }
    compare({file.type, file.fields}, {wanted.type, wanted.fields}, inner);
  }

  strings differences_;
  strings moved_;
};

/// Takes elements of a file to those asked for, which must be the same but for places and byte
/// order.
template <class Lazy = void> class element_conversion {
 public:
  element_conversion(element_type const& file, element_type const& wanted)
      : file_bytes_(file.type.item_bytes), wanted_bytes_(wanted.type.item_bytes) {
    add_element(file, wanted, 0, 0);
  }

  /// Whether there is nothing to do but to copy.
  bool copies() const {
    return file_bytes_ == wanted_bytes_ &&
           std::all_of(parts_.begin(), parts_.end(), [](scalars const& each) {
             return each.from == each.to && each.swapped <= 1 && !each.is_bool;
           });
  }
  std::size_t file_bytes() const { return file_bytes_; }

  /// `count` elements; bytes between the fields become 0.
  void apply(std::byte const* from, std::byte* to, std::size_t count) const {
    bool const gaps = parts_.size() > 1 || parts_.front().bytes != wanted_bytes_;
    if (gaps) std::memset(to, 0, count * wanted_bytes_);
    for (; count > 0; --count, from += file_bytes_, to += wanted_bytes_) {
      for (auto const& each : parts_) copy_part(each, from + each.from, to + each.to);
    }
  }

 private:
  /// Scalars of one kind in a row.
  struct scalars {
    std::size_t from;
    std::size_t to;
    std::size_t bytes;
    std::size_t swapped;  // bytes that are reversed together; 0: none
    bool is_bool;
  };

  void add_scalars(dtype const& file, std::size_t from, std::size_t to, std::size_t bytes) {
    parts_.push_back(
        {from, to, bytes, is_foreign(file) ? swapped_bytes(file) : 0, file.kind == 'b'});
  }

  void add_element(element_type const& file, element_type const& wanted, std::size_t from,
                   std::size_t to) {
    if (file.fields.empty()) return add_scalars(file.type, from, to, file.type.item_bytes);
    for (std::size_t i = 0; i < wanted.fields.size(); ++i) {
      auto const& field = *matching_field(file, wanted, i);
      auto const& other = wanted.fields[i];
      auto const at = from + field.offset;
      auto const there = to + other.offset;
      if (field.fields.empty()) {
        add_scalars(field.type, at, there, field.bytes());
        continue;
      }
      element_type const inner{field.type, field.fields};
      element_type const other_inner{other.type, other.fields};
      for (std::size_t k = 0, n = field.dims.count(); k != n; ++k) {
        add_element(inner, other_inner, at + k * field.type.item_bytes,
                    there + k * other.type.item_bytes);
      }
    }
  }

  static void copy_part(scalars const& p, std::byte const* from, std::byte* to) {
    if (p.is_bool) {
      // Any other value in a bool is undefined behaviour, and a file may hold it.
      std::transform(from, from + p.bytes, to,
                     [](std::byte b) { return b == std::byte{0} ? b : std::byte{1}; });
    } else {
      std::memcpy(to, from, p.bytes);
    }
    if (p.swapped <= 1) return;
    for (auto* at = to; at != to + p.bytes; at += p.swapped) std::reverse(at, at + p.swapped);
  }

  std::size_t file_bytes_;
  std::size_t wanted_bytes_;
  std::vector<scalars> parts_;
};

}  // namespace forkmap::detail
