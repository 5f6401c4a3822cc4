// What owns one object on the heap.
#pragma once

#include <cstddef>

namespace forkmap::detail {

/// As std::unique_ptr, which everything that includes forkmap would pay for: each type of it costs
/// g++ 12 (-O0) 14 ms where it is named and 34 where it is used, this 3 and 5.
///
/// T may be incomplete where an owner is a member, and complete where one is destroyed.
template <class T> class owner {
 public:
  owner() = default;
  owner(std::nullptr_t) noexcept {}
  explicit owner(T* object) noexcept : object_(object) {}
  owner(owner&& other) noexcept : object_(other.release()) {}
  template <class Derived>
    requires requires(Derived* other, T*& object) { object = other; }
  owner(owner<Derived>&& other) noexcept : object_(other.release()) {}
  owner& operator=(owner&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~owner() { reset(); }

  T& operator*() const noexcept { return *object_; }
  T* operator->() const noexcept { return object_; }
  T* get() const noexcept { return object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  friend bool operator==(owner const& one, std::nullptr_t) noexcept {
    return one.object_ == nullptr;
  }

  T* release() noexcept {
    T* const object = object_;
    object_ = nullptr;
    return object;
  }
  void reset(T* object = nullptr) noexcept {
    static_assert(sizeof(T) > 0, "forkmap: an owner destroys what is not known yet");
    T* const before = object_;
    object_ = object;
    delete before;
  }

 private:
  T* object_ = nullptr;
};

}  // namespace forkmap::detail
