// The arrays of a file that is compressed as a whole.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/array/format.hpp>
#include <forkmap/array/packing.hpp>
#include <forkmap/array/plain_value.hpp>
#include <forkmap/array/unpacked_source.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap::detail {

template <class Lazy = void> packed_section whole_file(packing method, byte_source const& source) {
  return {method, 0, source.size()};
}

/// Finds them in what the file unpacks to, from its beginning each time.
template <class Lazy = void> class packed_directory final : public array_directory {
 public:
  packed_directory(packing method, owner<array_directory> inside)
      : method_(method), inside_(std::move(inside)) {}

  stored_array find(byte_source const& source, std::string_view name) const override {
    auto const whole = whole_file(method_, source);
    auto result = inside_->find(unpacked_source<Lazy>(source, whole), name);
    if (result.packed.method != packing::none) source.fail("the array is compressed twice");
    result.packed = whole;
    return result;
  }

  std::vector<std::string> names() const override { return inside_->names(); }

  std::vector<content_entry> entries(byte_source const& source) const override {
    return inside_->entries(unpacked_source<Lazy>(source, whole_file(method_, source)));
  }

  void show(byte_source const& source, std::string_view name, value_viewer& viewer) const override {
    inside_->show(unpacked_source<Lazy>(source, whole_file(method_, source)), name, viewer);
  }

 private:
  packing method_;
  owner<array_directory> inside_;
};

}  // namespace forkmap::detail
