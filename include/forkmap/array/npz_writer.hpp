// NumPy's .npz, written: numpy.savez and numpy.savez_compressed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/array/content.hpp>
#include <forkmap/array/npy.hpp>
#include <forkmap/array/npz.hpp>
#include <forkmap/array/packing.hpp>
#include <forkmap/array/utf8.hpp>
#include <forkmap/array/zip_writer.hpp>
#include <forkmap/system/lazily.hpp>

namespace forkmap::detail {

/// Why an array cannot have that name, or nothing. Members are files to those who unpack an archive:
/// no name may lead out of a folder.
template <class Lazy = void> std::string_view bad_array_name(std::string_view name) {
  constexpr std::size_t longest = 0xffff - npy_extension.size();
  if (name.empty()) return "is empty";
  if (name.size() > longest) return "is too long";
  if (name.find('\0') != std::string_view::npos) return "holds a zero byte";
  if (!is_utf8(name)) return "is not UTF-8";
  if (name.starts_with('/') || name.find('\\') != std::string_view::npos) {
    return "is a path; parts of a name are separated by / only, and it begins with none";
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

/// The members of what is to be written: a dict's by their keys, others as numpy.savez names them.
template <class Lazy = void>
std::vector<lazily<npz_member, Lazy>> npz_members(content_value const& content) {
  using kind = content_value::kind;
  std::vector<lazily<npz_member, Lazy>> result;
  auto const add = [&result](std::string const& name, content_value const& value) {
    if (auto const why = bad_array_name(name); !why.empty()) {
      throw unwritable_content("the name " + in_quotes(name) + " of an array " + std::string(why));
    }
    if (value.what != kind::array) {
      throw unwritable_content("an .npz file holds arrays by name, and " + in_quotes(name) +
                               " is none; .joblib holds also lists, tuples, dicts, numbers and "
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
  if (method != packing::none && method != packing::deflate && method != packing::zlib) {
    throw unwritable_content(
        "the arrays of an .npz file can be compressed by \"zlib\", which NumPy reads, not by \"" +
        std::string(name_of(method)) + "\"; .joblib files can");
  }
  auto const members = npz_members(content);
  zip_writer<Lazy> archive(
      out, {method == packing::none ? method : packing::deflate, options.level}, npy_alignment);
  if (method == packing::none) {
    std::vector<std::pair<lazily<std::string_view, Lazy>, std::size_t>> sizes;
    for (auto const& [name, array] : members) {
      auto const head = npy_head(*array, array->dims, array->layout).size();
      sizes.emplace_back(name, head + array->bytes);
    }
    out.reserve(archive.stored_bytes(sizes));
  }
  for (auto const& [name, array] : members) {
    archive.add(name, [source = array](byte_sink& to) { write_npy_array(to, *source); });
  }
  archive.finish();
}

template <class Lazy = void>
inline constexpr array_format npz_format{"npz", begins_npz<Lazy>, read_npz<Lazy>, write_npz<Lazy>};

}  // namespace forkmap::detail
