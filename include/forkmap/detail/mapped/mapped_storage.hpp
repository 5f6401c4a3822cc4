// The storage of memmap and shared_array, and write protection of its pages.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include <forkmap/advice.hpp>
#include <forkmap/detail/mapped/mapped_memory.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/pages.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

// Write guards of a mapping: while there are any, only their windows are writable.

/// A writable window, an element of its mapping's list.
struct guarded_window {
  page_range pages{};
  pid_t process = 0;  // that added the window; forked children inherit list and protection
  std::atomic<guarded_window*> next{nullptr};
};

/// The write guards of one mapping: a list of windows, sorted by their first page, and a lock.
///
/// The process may fork at any time, also while another thread is in a member function. The list is
/// valid in the child, because each change is one store. The lock may then be held by the parent's
/// process id, which lock() in the child replaces by the child's own.
class write_guards {
 public:
  /// Adds a window. `all`: the pages of the mapping.
  /// Returns: 0, or an errno; the list and the protection are then unchanged.
  int add(guarded_window& window, page_range const& all) noexcept {
    window.process = ::getpid();
    lock();
    auto* before = &first_;
    while (auto* const other = before->load()) {
      if (other->pages.begin >= window.pages.begin) break;
      before = &other->next;
    }
    window.next.store(before->load());
    before->store(&window);
    auto const error = apply(all);
    if (error != 0) {
      before->store(window.next.load());
      apply(all);
    }
    unlock();
    return error;
  }

  void remove(guarded_window const& window, page_range const& all) noexcept {
    lock();
    auto* before = &first_;
    while (before->load() != &window) before = &before->load()->next;
    before->store(window.next.load());
    // Usually this merges mappings, which cannot fail. It can fail where the other windows split a
    // mapping; pages then stay read-only.
    apply(all);
    unlock();
  }

 private:
  /// Sets the protection of all pages as the list says. A window that is writable stays writable
  /// throughout, because another thread may be writing to it.
  int apply(page_range const& all) const noexcept {
    // Inherited windows count only until this process has windows of its own.
    auto const own = ::getpid();
    bool any = false;
    bool any_own = false;
    for (auto const* window = first_.load(); window != nullptr; window = window->next.load()) {
      any = true;
      any_own |= window->process == own;
    }
    if (!any) return set_writable(all, true);

    int error = 0;
    auto at = all.begin;  // pages before it are done
    for (auto const* window = first_.load(); window != nullptr; window = window->next.load()) {
      if (any_own && window->process != own) continue;
      auto const& pages = window->pages;
      if (pages.begin > at) {
        error = first_of(error, set_writable({at, pages.begin}, false));
        at = pages.begin;
      }
      if (pages.end > at) {
        error = first_of(error, set_writable({at, pages.end}, true));
        at = pages.end;
      }
    }
    return first_of(error, set_writable({at, all.end}, false));
  }
  static int first_of(int a, int b) noexcept { return a != 0 ? a : b; }

  void lock() noexcept {
    auto const own = ::getpid();
    for (;;) {
      pid_t holder = 0;
      if (locked_by_.compare_exchange_weak(holder, own)) return;
      if (holder != own && holder != 0 && locked_by_.compare_exchange_weak(holder, own)) return;
      ::usleep(10);  // longer than the lock is held; contention is rare
    }
  }
  void unlock() noexcept { locked_by_.store(0); }

  std::atomic<guarded_window*> first_{nullptr};  // sorted by first page
  std::atomic<pid_t> locked_by_{0};
};

/// A mapping and its guards.
struct guarded_mapping {
  page_range pages{};
  bool is_private = false;  // copy_on_write
  write_guards guards{};
};

/// Mapped memory and the array in it, or a view of the memory of another object. `Storage` is the
/// derived class.
template <class Storage> struct mapped_storage {
  mapped_memory memory{};            // empty in a view
  std::shared_ptr<Storage> whole{};  // of a view: the owner of the memory
  std::byte* data = nullptr;         // the first element
  shape dims{};
  order layout = order::c;
  guarded_mapping guarded{};  // unused in a view

  void take(mapped_memory mapped, shape const& new_dims, order new_layout,
            bool is_private = false) {
    memory = std::move(mapped);
    data = memory.data();
    dims = new_dims;
    layout = new_layout;
    guarded.pages = pages_of(data, memory.size());
    guarded.is_private = is_private;
  }

  /// Of a view, the owner of the memory; else this object.
  Storage const& root() const noexcept {
    return whole ? *whole : static_cast<Storage const&>(*this);
  }
  /// Distance in bytes from the root's first element to the first element here.
  std::size_t first_byte() const noexcept { return static_cast<std::size_t>(data - root().data); }

  static std::size_t page_size() noexcept { return detail::page_size(); }

  bool advise(advice wanted, std::byte const* first, std::size_t bytes) const noexcept {
    if (wanted == advice::dont_need && root().guarded.is_private) return false;
    return advise_pages(pages_of(first, bytes), wanted);
  }
};

/// A view: the same memory with other dims.
template <class Storage>
std::shared_ptr<Storage> part_of_storage(std::shared_ptr<Storage> const& storage,
                                         std::size_t first_byte, shape const& dims, order layout) {
  auto result = std::make_shared<Storage>();
  result->whole = storage->whole ? storage->whole : storage;
  result->data = storage->data + first_byte;
  result->dims = dims;
  result->layout = layout;
  return result;
}

}  // namespace forkmap::detail
