// NumPy's .npz: a zip archive of .npy members, stored or deflated.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/array/content.hpp>
#include <forkmap/array/format.hpp>
#include <forkmap/array/npy.hpp>
#include <forkmap/array/packing.hpp>
#include <forkmap/array/unpacked_source.hpp>
#include <forkmap/array/zip.hpp>
#include <forkmap/array/zip_member.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap::detail {

inline constexpr std::string_view npy_extension = ".npy";

template <class Lazy = void> bool begins_npz(std::string_view first) {
  // An archive of none begins with its end.
  return first.starts_with("PK\3\4") || first.starts_with("PK\5\6");
}

/// Arrays go by the names of their members, with or without ".npy", as in NumPy.
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
    if (arrays == 0) source.fail("the archive holds no array: no member ends with .npy");
    if (arrays > 1) {
      source.fail("the archive holds " + std::to_string(arrays) +
                  " arrays; say which, for example " + in_quotes(array_name(*only)));
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
    for (auto const& each : archive_.members()) {
      if (is_array(each) && ++arrays <= most_named) {
        known += (known.empty() ? "" : ", ") + in_quotes(array_name(each));
      }
    }
    source.fail(
        "no array is called " + in_quotes(name) + "; there " +
        (arrays == 0 ? "is none" : "are " + known) +
        (arrays > most_named ? " and " + std::to_string(arrays - most_named) + " more" : ""));
  }

  /// `listed`: as of locate_npy().
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
    packed_section section{packing::none, data.offset(), data.size(),
                           static_cast<std::size_t>(member.unpacked_bytes), member.crc32};
    stored_array result;
    if (member.method == zip_stored) {
      check_is_npy(source, data.first());
      result = locate_npy(data, listed);
      result.offset += data.offset();
    } else {
      section.method = packing::deflate;
      unpacked_source<Lazy> const unpacked(source, section);
      check_is_npy(source, unpacked.first());
      result = locate_npy(unpacked, listed);
    }
    result.format = "npz";
    result.packed = section;
    // NumPy would refuse the member whose checksum is no longer right.
    result.writable = false;
    return result;
  }

  static void check_is_npy(byte_source const& source, std::string_view first) {
    if (begins_npy(first)) return;
    source.fail("not an array: the member begins with " + in_quotes(first.substr(0, 8)) +
                ", an .npy file with '\\x93NUMPY'");
  }

  zip_archive<Lazy> archive_;
};

template <class Lazy = void> owner<array_directory> read_npz(byte_source const& source) {
  if (source.size() == unknown_size) {
    source.fail("an .npz archive that is compressed as a whole; unpack it first");
  }
  return owner<array_directory>(new npz_directory<Lazy>(source));
}

}  // namespace forkmap::detail
