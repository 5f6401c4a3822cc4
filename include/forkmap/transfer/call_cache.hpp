// What a pool's worker has made of the arguments of a call and keeps for its other tasks: copies of
// containers, open arrays.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace forkmap::detail {

class call_cache {
 public:
  /// The T of that key, made by `make` if it is not there yet.
  template <class T, class Make> T const& of_call(std::string_view key, Make const& make) {
    for (auto const& each : of_call_) {
      if (each.type == &type_tag<T> && each.key == key)
        return *static_cast<T const*>(each.what.get());
    }
    of_call_.push_back({std::string(key), &type_tag<T>, std::make_shared<T>(make())});
    return *static_cast<T const*>(of_call_.back().what.get());
  }
  /// A T that lives until the next task begins.
  template <class T, class Make> T const& of_task(Make const& make) {
    of_task_.push_back(std::make_shared<T>(make()));
    return *static_cast<T const*>(of_task_.back().get());
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
  struct kept {
    std::string key;
    char const* type;
    std::shared_ptr<void> what;
  };

  std::vector<kept> of_call_{};
  std::vector<std::shared_ptr<void>> of_task_{};
};

/// That of the call which this thread serves as a pool's worker; null elsewhere.
inline thread_local constinit call_cache* cache_of_call = nullptr;

}  // namespace forkmap::detail
