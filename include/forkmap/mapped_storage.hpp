// What memmap and shared_array have in common of what their copies and views share. Not for users.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include <forkmap/advice.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/system/call.hpp>
#include <forkmap/system/mapped_memory.hpp>
#include <forkmap/system/pages.hpp>
#include <forkmap/write_guard.hpp>

namespace forkmap::detail {

/// Mapped memory and the array in it; or a view, the memory of which is another's. `Storage` is the
/// class that derives from this.
template <class Storage> struct mapped_storage {
  mapped_memory memory{};            // empty in a view
  std::shared_ptr<Storage> whole{};  // of a view: whose memory it is part of
  std::byte* data = nullptr;         // the first element
  shape dims{};
  order layout = order::c;
  guarded_mapping guarded{};  // unused in a view

  void take(mapped_memory mapped, shape const& its_dims, order its_layout,
            bool is_private = false) {
    memory = std::move(mapped);
    data = memory.data();
    dims = its_dims;
    layout = its_layout;
    guarded.pages = pages_of(data, memory.size());
    guarded.is_private = is_private;
  }

  /// What a view is part of; itself if it is none.
  Storage const& root() const noexcept {
    return whole ? *whole : static_cast<Storage const&>(*this);
  }
  /// How far from the root's first byte its own is.
  std::size_t first_byte() const noexcept { return static_cast<std::size_t>(data - root().data); }

  static std::size_t page_size() noexcept { return detail::page_size(); }

  static write_guard guard(std::shared_ptr<Storage> const& of, std::size_t first,
                           std::size_t bytes) {
    auto const& root = of->whole ? of->whole : of;
    int error = 0;
    write_guard made(std::shared_ptr<guarded_mapping>(root, &root->guarded),
                     pages_of(of->data + first, bytes), error);
    if (error != 0) throw_system_error(error, "mprotect (guard) of", root->name());
    return made;
  }

  bool advise(advice what, std::byte const* first, std::size_t bytes) const noexcept {
    if (what == advice::dont_need && root().guarded.is_private) return false;
    return advise_pages(pages_of(first, bytes), what);
  }
};

/// A view: the same memory with other dims.
template <class Storage>
std::shared_ptr<Storage> part_of_storage(std::shared_ptr<Storage> const& of, std::size_t first_byte,
                                         shape const& dims, order layout) {
  auto result = std::make_shared<Storage>();
  result->whole = of->whole ? of->whole : of;
  result->data = of->data + first_byte;
  result->dims = dims;
  result->layout = layout;
  return result;
}

}  // namespace forkmap::detail
