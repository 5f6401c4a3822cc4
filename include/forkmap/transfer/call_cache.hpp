// What a pool's worker has made of the arguments of a call and keeps for its other tasks: copies of
// containers, open arrays.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/system/owner.hpp>

namespace forkmap::detail {

class call_cache {
 public:
  /// The T of that key, made by `make` if it is not there yet.
  template <class T, class Make> T const& of_call(std::string_view key, Make const& make) {
    for (auto const& each : of_call_) {
      if (each.type == &type_tag<T> && each.key == key)
        return static_cast<object_of<T> const&>(*each.what).value;
    }
    return keep<T>(of_call_, key, make);
  }
  /// A T that lives until the next task begins.
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
  struct kept {
    std::string key;
    char const* type;
    owner<object> what;
  };

  template <class T, class Make>
  static T const& keep(std::vector<kept>& among, std::string_view key, Make const& make) {
    auto* const made = new object_of<T>(make);
    owner<object> what(made);
    among.push_back({std::string(key), &type_tag<T>, std::move(what)});
    return made->value;
  }

  std::vector<kept> of_call_{};
  std::vector<kept> of_task_{};
};

/// That of the call which this thread serves as a pool's worker; null elsewhere.
inline thread_local constinit call_cache* cache_of_call = nullptr;

}  // namespace forkmap::detail
