// Pages of a mapping that only one window of it may be written: memmap::guard() makes them.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include <forkmap/advice.hpp>
#include <forkmap/system/owner.hpp>
#include <forkmap/system/pages.hpp>

namespace forkmap {
namespace detail {

/// A window that is guarded, in the list of its mapping's.
struct guarded_window {
  page_range pages{};
  pid_t process = 0;  // that guards it; one forked from it inherits the list, and the protection
  std::atomic<guarded_window*> next{nullptr};
};

template <class Storage> struct mapped_storage;

/// The guards of one mapping.
///
/// A fork may come at any moment, while another thread is in here. The child finds a list that is
/// whole, for it changes by one store at a time, and takes the lock from an owner that it does not
/// have.
class write_guards {
 public:
  /// `all`: the pages of the mapping.
  /// Returns: 0, or the errno; nothing has changed then.
  int add(guarded_window& window, page_range const& all) noexcept {
    window.process = ::getpid();
    lock();
    auto* before = &first_;
    while (auto* const it = before->load()) {
      if (it->pages.begin >= window.pages.begin) break;
      before = &it->next;
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
    // Pages become one mapping again: that does not fail but where the others' guards cut them
    // anew, and then they stay read-only.
    apply(all);
    unlock();
  }

 private:
  /// Gives every page the protection that the list says. Never takes a window's away, not even for
  /// a moment: another thread may be writing there.
  int apply(page_range const& all) const noexcept {
    // Its own windows; those that it was forked with only until it has some.
    auto const own = ::getpid();
    bool any = false;
    bool any_own = false;
    for (auto const* it = first_.load(); it != nullptr; it = it->next.load()) {
      any = true;
      any_own |= it->process == own;
    }
    if (!any) return set_writable(all, true);

    int error = 0;
    auto at = all.begin;  // up to here all is done
    for (auto const* it = first_.load(); it != nullptr; it = it->next.load()) {
      if (any_own && it->process != own) continue;
      if (auto const& pages = it->pages; pages.begin > at) {
        error = first_of(error, set_writable({at, pages.begin}, false));
        at = pages.begin;
      }
      if (it->pages.end > at) {
        error = first_of(error, set_writable({at, it->pages.end}, true));
        at = it->pages.end;
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
      ::usleep(10);  // longer than any of the above takes, and there is rarely anybody
    }
  }
  void unlock() noexcept { locked_by_.store(0); }

  std::atomic<guarded_window*> first_{nullptr};  // in the order of their pages
  std::atomic<pid_t> locked_by_{0};
};

/// A mapping and its guards.
struct guarded_mapping {
  page_range pages{};
  bool is_private = false;  // copy_on_write
  write_guards guards{};
};

}  // namespace detail

/// As long as it is there, this process can write only that window of the array: what guard()
/// returns. It keeps the mapping.
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
    // To change the rights of a page that is present takes time, for each guard to come: the window
    // is given back, as it has been written. Nothing is lost where the memory is shared.
    if (!mapping_->is_private) detail::advise_pages(window_->pages, advice::dont_need);
    mapping_->guards.remove(*window_, mapping_->pages);
  }

 private:
  template <class> friend struct detail::mapped_storage;

  /// `error` becomes the errno, 0 if all is well.
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
