// Hashing of a call's tasks, so that the next run of the program can recognise them. Each argument
// of a delayed call is hashed separately; other tasks are not hashed.
// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#include <forkmap/delayed.hpp>
#include <forkmap/detail/journal/digest.hpp>
#include <forkmap/detail/journal/seen_inputs.hpp>
#include <forkmap/detail/serialize/send_traits.hpp>

namespace forkmap::detail {

template <class T> inline constexpr bool is_seen_task = false;
/// Whether an argument stored as T is hashed. An argument stored by reference is hashed only if the
/// reference is to const, so that the task cannot change it.
template <class T> consteval bool is_seen_argument() {
  if constexpr (is_delayed_call<T>)
    return is_seen_task<T>;
  else if constexpr (std::is_reference_v<T>)
    return std::is_const_v<std::remove_reference_t<T>> && is_seen<std::remove_cvref_t<T>>();
  else
    return is_seen<std::remove_cv_t<T>>();
}
template <class Fn, class... Args>
inline constexpr bool is_seen_task<delayed_call<Fn, Args...>> =
    is_seen_task<Fn> || (is_seen_argument<Args>() || ...);

template <class Task> void look_at_task(input_digest& into, Task const& task);

template <class T>
void look_at_argument(input_digest& into, std::remove_reference_t<T> const& argument) {
  if constexpr (!is_seen_argument<T>()) {
    into.sum.number(0);
  } else if constexpr (is_delayed_call<T>) {
    look_at_task(into, argument);
  } else if constexpr (std::is_reference_v<T>) {
    into.sum.number(into.of_shared(std::addressof(argument), sizeof argument, [&] {
      auto const outer = std::exchange(into.sum, {});
      look_at<std::remove_cvref_t<T>>(into, argument);
      return std::exchange(into.sum, outer).value();
    }));
  } else {
    look_at<std::remove_cv_t<T>>(into, argument);
  }
}

template <class Task> void look_at_task(input_digest& into, Task const& task) {
  if constexpr (is_seen_task<Task>) {
    look_at_task(into, task.function());
    [&]<class... Args>(std::type_identity<std::tuple<Args...>>) {
      std::apply([&](auto const&... parts) { (look_at_argument<Args>(into, parts), ...); },
                 task.arguments());
    }(std::type_identity<typename Task::arguments_type>{});
  }
}

}  // namespace forkmap::detail
