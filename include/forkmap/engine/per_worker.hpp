// One object for each worker of a call.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

namespace forkmap::detail {

/// As a vector of fixed size, but in place for a few workers: each page of the heap that the caller
/// writes between two forks costs it another page fault.
template <class T> class per_worker {
 public:
  explicit per_worker(std::size_t n)
      : many_(n > few_.size() ? n : 0),
        all_(n > few_.size() ? std::span<T>(many_) : std::span<T>(few_).first(n)) {}
  per_worker(per_worker const&) = delete;
  per_worker& operator=(per_worker const&) = delete;
  ~per_worker() = default;

  T& operator[](std::size_t k) noexcept { return all_[k]; }
  T* data() noexcept { return all_.data(); }
  std::size_t size() const noexcept { return all_.size(); }
  auto begin() noexcept { return all_.begin(); }
  auto end() noexcept { return all_.end(); }

 private:
  std::array<T, 8> few_{};
  std::vector<T> many_;
  std::span<T> all_;
};

}  // namespace forkmap::detail
