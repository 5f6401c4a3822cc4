// An object that is constructed at first use and lives until the process exits, without a lock.
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>

namespace forkmap::detail {

/// Replaces a function-local static: if another thread is constructing one during fork(), a child
/// that uses it waits for ever. Threads that call this at the same time construct an object each,
/// and one of these is kept. `where` is constant-initialised static storage.
/// Errors: exceptions from make(); the next call then tries again.
template <class T, class Make> T& made_once(std::atomic<T*>& where, Make const& make) {
  if (auto* const made = where.load(std::memory_order_acquire)) return *made;
  auto* const own = new T(make());
  T* first = nullptr;
  if (where.compare_exchange_strong(first, own, std::memory_order_acq_rel)) return *own;
  delete own;
  return *first;
}

}  // namespace forkmap::detail
