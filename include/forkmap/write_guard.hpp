// Write protection of a mapped array outside one window: the return type of memmap::guard().
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

#include <forkmap/advice.hpp>
#include <forkmap/detail/mapped/mapped_storage.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/pages.hpp>
#include <forkmap/detail/owner.hpp>

namespace forkmap {

template <class T, class Storage> class mapped_array;

/// As long as a write_guard exists, this process can write only the window of the array for which
/// guard() returned it. The guard keeps the mapping.
class [[nodiscard]] write_guard {
 public:
  write_guard(write_guard&& other) noexcept = default;
  write_guard& operator=(write_guard other) noexcept {
    std::swap(mapping_, other.mapping_);
    std::swap(window_, other.window_);
    return *this;
  }
  ~write_guard() {
    if (!window_) return;
    // Each later guard spends time on every page that is present. So the pages of the window, which
    // were written, are released. Shared memory keeps its content.
    if (!mapping_->is_private) detail::advise_pages(window_->pages, advice::dont_need);
    mapping_->guards.remove(*window_, mapping_->pages);
  }

 private:
  template <class, class> friend class mapped_array;

  /// Errors: std::system_error naming mprotect and the mapped file or array.
  template <class Storage>
  static write_guard of(std::shared_ptr<Storage> const& array, std::size_t first,
                        std::size_t bytes) {
    auto const& root = array->whole ? array->whole : array;
    int error = 0;
    write_guard guard(std::shared_ptr<detail::guarded_mapping>(root, &root->guarded),
                      detail::pages_of(array->data + first, bytes), error);
    if (error != 0) detail::throw_system_error(error, "mprotect (guard) of", root->name());
    return guard;
  }

  /// Sets `error` to 0, or to the errno of the failure.
  write_guard(std::shared_ptr<detail::guarded_mapping> mapping, detail::page_range const& window,
              int& error)
      : mapping_(std::move(mapping)), window_(new detail::guarded_window) {
    auto const& all = mapping_->pages;
    window_->pages = {std::clamp(window.begin, all.begin, all.end),
                      std::clamp(window.end, all.begin, all.end)};
    error = mapping_->guards.add(*window_, all);
    if (error != 0) window_.reset();
  }

  std::shared_ptr<detail::guarded_mapping> mapping_;
  detail::owner<detail::guarded_window> window_;
};

}  // namespace forkmap
