// An array of one object for each worker of a call.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

namespace forkmap::detail {

/// A vector of fixed size that stores the objects of up to `few` workers in place: each page of the
/// heap that the caller writes between two forks costs it another page fault.
template <class T> class per_worker {
 public:
  explicit per_worker(std::size_t n)
      : n_(n), many_(n > few ? new T[n]() : nullptr), all_(n > few ? many_ : few_) {}
  per_worker(per_worker const&) = delete;
  per_worker& operator=(per_worker const&) = delete;
  ~per_worker() { delete[] many_; }

  T& operator[](std::size_t k) noexcept { return all_[k]; }
  T const& operator[](std::size_t k) const noexcept { return all_[k]; }
  T* data() noexcept { return all_; }
  std::size_t size() const noexcept { return n_; }
  T* begin() noexcept { return all_; }
  T* end() noexcept { return all_ + n_; }
  T const* begin() const noexcept { return all_; }
  T const* end() const noexcept { return all_ + n_; }

 private:
  static constexpr std::size_t few = 8;

  T few_[few]{};
  std::size_t n_;
  T* many_;  // a vector or unique_ptr would take a tenth longer to compile
  T* all_;
};

}  // namespace forkmap::detail
