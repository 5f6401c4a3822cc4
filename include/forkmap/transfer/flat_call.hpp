// Tasks of which every part is flat: each takes the same bytes, and each part has its place in them.
// A million of them are sent and run in nanoseconds: nothing is counted, checked or moved on the way.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#include <forkmap/delayed.hpp>
#include <forkmap/transfer/portable_traits.hpp>
#include <forkmap/transfer/traits.hpp>

namespace forkmap::detail {

template <class T> consteval bool is_flat_part() {
  // Compilers that cannot see where a pointer to a member leads warn of what is not initialised.
  if constexpr (std::is_reference_v<T> || std::is_member_pointer_v<T>)
    return false;
  else if constexpr (sent_as<T> == sent::as_value)
    return travels_v<T> == travel::as_bytes;
  else
    return sent_as<T> == sent::as_address || sent_as<T> == sent::as_stateless;
}
template <class T>
inline constexpr std::size_t flat_part_bytes = sent_as<T> == sent::as_stateless ? 0 : sizeof(T);

template <class T> void put_flat(std::byte* at, T const& part) noexcept {
  if constexpr (flat_part_bytes<T> != 0) std::memcpy(at, std::addressof(part), sizeof part);
}
template <class T> T get_flat([[maybe_unused]] std::byte const* at) noexcept {
  if constexpr (flat_part_bytes<T> == 0) {
    return std::bit_cast<T>(std::byte{});
  } else if constexpr (std::is_trivially_default_constructible_v<T>) {
    T part{};  // made where it is to be; the zeros go
    std::memcpy(std::addressof(part), at, sizeof part);
    return part;
  } else {
    std::array<std::byte, sizeof(T)> bytes{};
    std::memcpy(bytes.data(), at, sizeof bytes);
    return std::bit_cast<T>(bytes);
  }
}

/// The bytes of such a task; 0 of any other.
template <class Task> struct flat_call {
  static constexpr std::size_t bytes = 0;
};

template <function_address Fn> struct flat_call<Fn> {
  static constexpr std::size_t bytes = sizeof(Fn);
  static void write(std::byte* at, Fn const& fn) noexcept { put_flat(at, fn); }
  static auto run(std::byte const* at) {
    auto fn = get_flat<Fn>(at);
    return std::invoke(fn);
  }
};

/// The function, then each argument.
template <class Fn, class... Args>
  requires(is_flat_part<Fn>() && ... && is_flat_part<Args>())
struct flat_call<delayed_call<Fn, Args...>> {
  static constexpr std::size_t bytes = (flat_part_bytes<Fn> + ... + flat_part_bytes<Args>);

  static void write(std::byte* at, delayed_call<Fn, Args...> const& task) noexcept {
    put_flat(at, task.function());
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (put_flat(at + places[I], std::get<I>(task.arguments())), ...);
    }(std::index_sequence_for<Args...>{});
  }

  /// Passes the arguments as the task itself would: lvalues of a copy that is this run's alone, so
  /// that what is returned as a reference must be copied, too.
  static auto run(std::byte const* at) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      constexpr auto moved = static_cast<std::size_t>(arguments_to_move<Fn, Args...>());
      auto fn = get_flat<Fn>(at);
      parts<std::index_sequence<I...>> all{{get_flat<Args>(at + places[I])}...};
      return std::invoke(
          fn, static_cast<passed_as<moved, I, Args>>(static_cast<part<I, Args>&>(all).value)...);
    }(std::index_sequence_for<Args...>{});
  }

 private:
  template <std::size_t I, class T> struct part {
    T value;
  };
  template <class Indices> struct parts;
  template <std::size_t... I>
  struct parts<std::index_sequence<I...>> : part<I, Args>... {};  // no tuple: that would move them

  static constexpr auto places = [] {
    constexpr std::size_t sizes[] = {flat_part_bytes<Args>..., 0};
    std::array<std::size_t, sizeof...(Args) + 1> all{};
    auto place = flat_part_bytes<Fn>;
    for (std::size_t i = 0; i != sizeof...(Args); place += sizes[i++]) all[i] = place;
    return all;
  }();
};

}  // namespace forkmap::detail
