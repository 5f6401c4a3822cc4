// A worker's cache of objects made from a call's arguments: copies of containers, open arrays.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/detail/owner.hpp>

namespace forkmap::detail {

class call_cache {
 public:
  /// The T with that key, made by `make` at first use. It lives until the call ends.
  template <class T, class Make> T const& of_call(std::string_view key, Make const& make) {
    for (auto const& cached : of_call_) {
      if (cached.type == &type_tag<T> && cached.key == key)
        return static_cast<object_of<T> const&>(*cached.value).value;
    }
    return keep<T>(of_call_, key, make);
  }
  /// A new T, made by `make`. It lives until the next task begins.
  template <class T, class Make> T const& of_task(Make const& make) {
    return keep<T>(of_task_, {}, make);
  }

  void begin_task() noexcept {
    if (!of_task_.empty()) of_task_.clear();
  }
  void end_call() noexcept {
    of_task_.clear();
    of_call_.clear();
  }

 private:
  template <class T> static constexpr char type_tag = 0;

  struct object {
    object() = default;
    object(object const&) = delete;
    object& operator=(object const&) = delete;
    virtual ~object() = default;
  };
  template <class T> struct object_of final : object {
    template <class Make> explicit object_of(Make const& make) : value(make()) {}
    T value;
  };
  struct entry {
    std::string key;
    char const* type;
    owner<object> value;
  };

  template <class T, class Make>
  static T const& keep(std::vector<entry>& entries, std::string_view key, Make const& make) {
    auto* const made = new object_of<T>(make);
    owner<object> value(made);
    entries.push_back({std::string(key), &type_tag<T>, std::move(value)});
    return made->value;
  }

  std::vector<entry> of_call_{};
  std::vector<entry> of_task_{};
};

/// The cache of the call that this thread runs as a pool's worker; null in all other threads.
inline thread_local constinit call_cache* cache_of_call = nullptr;

}  // namespace forkmap::detail
