// NumPy's .npz: a zip archive of .npy members, stored or deflated.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/detail/array/compressed_file.hpp>
#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/array/utf8.hpp>
#include <forkmap/detail/compress/compression.hpp>
#include <forkmap/detail/lazily.hpp>
#include <forkmap/detail/npy/npy.hpp>
#include <forkmap/detail/npz/zip.hpp>
#include <forkmap/detail/npz/zip_member.hpp>
#include <forkmap/detail/npz/zip_writer.hpp>
#include <forkmap/detail/owner.hpp>

namespace forkmap::detail {

inline constexpr std::string_view npy_extension = ".npy";

template <class Lazy = void> bool begins_npz(std::string_view first) {
  // An empty archive begins with its end of central directory.
  return first.starts_with("PK\3\4") || first.starts_with("PK\5\6");
}

/// The arrays of an .npz file. Their names are those of the members, with or without ".npy", as in
/// NumPy.
template <class Lazy = void> class npz_directory final : public array_directory {
 public:
  explicit npz_directory(byte_source const& source) : archive_(source) {}

  stored_array find(byte_source const& source, std::string_view name) const override {
    auto const& member = name.empty() ? only_member(source) : named_member(source, name);
    bool const listed = false;
    return describe(source, member, listed);
  }

  std::vector<content_entry> entries(byte_source const& source) const override {
    std::vector<content_entry> result;
    for (auto const& member : archive_.members()) {
      if (!is_array(member)) continue;
      bool const listed = true;
      auto const array = describe(source, member, listed);
      result.push_back({array_name(member), array.descr, array.dims});
    }
    return result;
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> result;
    for (auto const& member : archive_.members()) {
      if (is_array(member)) result.push_back(array_name(member));
    }
    return result;
  }

 private:
  static bool is_array(zip_member const& member) { return member.name.ends_with(npy_extension); }
  static std::string array_name(zip_member const& member) {
    return member.name.substr(0, member.name.size() - npy_extension.size());
  }

  zip_member const& only_member(byte_source const& source) const {
    zip_member const* only = nullptr;
    std::size_t arrays = 0;
    for (auto const& member : archive_.members()) {
      if (!is_array(member)) continue;
      ++arrays;
      if (only == nullptr) only = &member;
    }
    if (arrays == 0)
      source.fail("the archive holds no array: no member has a name that ends with .npy");
    if (arrays > 1) {
      source.fail("the archive holds " + std::to_string(arrays) +
                  " arrays; give the name of one, for example " + in_quotes(array_name(*only)));
    }
    return *only;
  }

  zip_member const& named_member(byte_source const& source, std::string_view name) const {
    auto const* member = archive_.find(std::string(name) + std::string(npy_extension));
    if (member == nullptr) member = archive_.find(name);
    if (member != nullptr) return *member;
    std::string known;
    constexpr std::size_t most_named = 5;
    std::size_t arrays = 0;
    for (auto const& other : archive_.members()) {
      if (is_array(other) && ++arrays <= most_named) {
        known += (known.empty() ? "" : ", ") + in_quotes(array_name(other));
      }
    }
    source.fail(
        "no array is called " + in_quotes(name) + "; the archive holds " +
        (arrays == 0 ? "no arrays" : known) +
        (arrays > most_named ? " and " + std::to_string(arrays - most_named) + " more" : ""));
  }

  /// `listed`: see locate_npy().
  static stored_array describe(byte_source const& source, zip_member const& member, bool listed) {
    try {
      return read_member(source, member, listed);
    } catch (format_error const& error) {
      throw format_error(std::string(error.what()) + " (member " + in_quotes(member.name) + ")",
                         error.path());
    }
  }

  static stored_array read_member(byte_source const& source, zip_member const& member,
                                  bool listed) {
    zip_member_source<Lazy> const data(source, member);
    compressed_section section{compression::none, data.offset(), data.size(),
                               static_cast<std::size_t>(member.unpacked_bytes), member.crc32};
    stored_array result;
    if (member.method == zip_stored) {
      check_is_npy(source, data.first());
      result = locate_npy(data, listed);
      result.offset += data.offset();
    } else {
      section.method = compression::deflate;
      decompressed_source<Lazy> const decompressed(source, section);
      check_is_npy(source, decompressed.first());
      result = locate_npy(decompressed, listed);
    }
    result.format = "npz";
    result.packed = section;
    // Writing would make the checksum wrong, and NumPy would then refuse the member.
    result.writable = false;
    return result;
  }

  static void check_is_npy(byte_source const& source, std::string_view first) {
    if (begins_npy(first)) return;
    source.fail("the member is not an array: it begins with " + in_quotes(first.substr(0, 8)) +
                ", but an .npy file begins with '\\x93NUMPY'");
  }

  zip_archive<Lazy> archive_;
};

template <class Lazy = void> owner<array_directory> read_npz(byte_source const& source) {
  if (source.size() == unknown_size) {
    source.fail("the .npz archive is compressed as a whole; decompress it first");
  }
  return owner<array_directory>(new npz_directory<Lazy>(source));
}

// Writing of .npz files, as numpy.savez and numpy.savez_compressed write them.

/// Why an array cannot have this name; empty if it can. Unpacking an archive makes files of its
/// members, so no name may lead out of the folder.
template <class Lazy = void> std::string_view bad_array_name(std::string_view name) {
  constexpr std::size_t longest = 0xffff - npy_extension.size();
  if (name.empty()) return "is empty";
  if (name.size() > longest) return "is too long";
  if (name.find('\0') != std::string_view::npos) return "contains a zero byte";
  if (!is_utf8(name)) return "is not UTF-8";
  if (name.starts_with('/') || name.find('\\') != std::string_view::npos) {
    return "is a path; a name must not begin with /, and / must separate its parts";
  }
  for (auto rest = name; !rest.empty();) {
    auto const part = rest.substr(0, rest.find('/'));
    if (part == "..") return "leads out of its folder";
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
  }
  return {};
}

struct npz_member {
  std::string name;
  array_content const* array;
};

/// The members to write. Items of a dict are named by their keys, other arrays as numpy.savez does.
template <class Lazy = void>
std::vector<lazily<npz_member, Lazy>> npz_members(content_value const& content) {
  using kind = content_value::kind;
  std::vector<lazily<npz_member, Lazy>> result;
  auto const add = [&result](std::string const& name, content_value const& value) {
    if (auto const why = bad_array_name(name); !why.empty()) {
      throw unwritable_content("the array name " + in_quotes(name) + " " + std::string(why));
    }
    if (value.what != kind::array) {
      throw unwritable_content("an .npz file holds only arrays, and " + in_quotes(name) +
                               " is not one; .joblib also holds lists, tuples, dicts, numbers and "
                               "strings");
    }
    result.push_back({name + std::string(npy_extension), value.array});
  };
  if (content.what == kind::dict) {
    for (std::size_t i = 0; i < content.items.size(); ++i) add(content.keys[i], content.items[i]);
  } else if (content.what == kind::list || content.what == kind::tuple) {
    for (std::size_t i = 0; i < content.items.size(); ++i) {
      add("arr_" + std::to_string(i), content.items[i]);
    }
  } else {
    add("arr_0", content);
  }
  return result;
}

template <class Lazy = void>
void write_npz(byte_sink& out, content_value const& content, write_options const& options) {
  auto const method = options.method;
  if (method != compression::none && method != compression::deflate &&
      method != compression::zlib) {
    throw unwritable_content(
        "an .npz file can be compressed only with \"zlib\", which NumPy reads, not with \"" +
        std::string(name_of(method)) + "\"; a .joblib file can");
  }
  auto const members = npz_members(content);
  zip_writer<Lazy> archive(
      out, {method == compression::none ? method : compression::deflate, options.level},
      npy_alignment);
  if (method == compression::none) {
    std::vector<std::pair<lazily<std::string_view, Lazy>, std::size_t>> sizes;
    for (auto const& [name, array] : members) {
      auto const head = npy_head(*array, array->dims, array->layout).size();
      sizes.emplace_back(name, head + array->bytes);
    }
    out.reserve(archive.stored_bytes(sizes));
  }
  for (auto const& [name, array] : members) {
    archive.add(name, [source = array](byte_sink& sink) { write_npy_array(sink, *source); });
  }
  archive.finish();
}

template <class Lazy = void>
inline constexpr array_format npz_format{"npz", begins_npz<Lazy>, read_npz<Lazy>, write_npz<Lazy>};

}  // namespace forkmap::detail
