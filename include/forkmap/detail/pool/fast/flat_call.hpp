// Fixed-size tasks: the function and each argument are sent as raw bytes, each at a fixed offset. A
// million such tasks are sent and run in nanoseconds each: nothing is counted, checked or moved for
// a single task.
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

#include <forkmap/delayed.hpp>
#include <forkmap/detail/serialize/send_traits.hpp>
#include <forkmap/detail/serialize/traits.hpp>

namespace forkmap::detail {

template <class T> consteval bool is_flat_part() {
  // No pointers to members: compilers that cannot see their targets warn of uninitialised values.
  if constexpr (std::is_reference_v<T> || std::is_member_pointer_v<T>)
    return false;
  else if constexpr (sent_as<T> == sent::as_value)
    return serialization_of<T> == encoding::as_bytes;
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
    T part{};  // constructed in the result's own storage; the optimiser removes the zeros
    std::memcpy(std::addressof(part), at, sizeof part);
    return part;
  } else {
    std::array<std::byte, sizeof(T)> bytes{};
    std::memcpy(bytes.data(), at, sizeof bytes);
    return std::bit_cast<T>(bytes);
  }
}

/// The number of bytes of a fixed-size task; 0 for any other. Its parts are the function and the
/// arguments, each at an offset in these bytes.
template <class Task> struct flat_call {
  static constexpr std::size_t bytes = 0;
};

template <function_address Fn> struct flat_call<Fn> {
  static constexpr std::size_t bytes = sizeof(Fn);
  static constexpr std::size_t n_parts = 1;
  static constexpr std::array<std::size_t, n_parts> part_bytes{sizeof(Fn)};
  static constexpr std::array<std::size_t, n_parts> places{};

  template <std::size_t> static Fn const& part(Fn const& fn) noexcept { return fn; }
  static void write(std::byte* at, Fn const& fn) noexcept { put_flat(at, fn); }
  template <class Where> static auto run_parts(Where const& where) {
    auto fn = get_flat<Fn>(where(0));
    return std::invoke(fn);
  }
};

/// The function, then each argument.
template <class Fn, class... Args>
  requires(is_flat_part<Fn>() && ... && is_flat_part<Args>())
struct flat_call<delayed_call<Fn, Args...>> {
  static constexpr std::size_t bytes = (flat_part_bytes<Fn> + ... + flat_part_bytes<Args>);
  static constexpr std::size_t n_parts = 1 + sizeof...(Args);
  static constexpr std::array<std::size_t, n_parts> part_bytes{flat_part_bytes<Fn>,
                                                               flat_part_bytes<Args>...};
  static constexpr auto places = [] {
    std::array<std::size_t, n_parts> all{};
    for (std::size_t k = 1; k != n_parts; ++k) all[k] = all[k - 1] + part_bytes[k - 1];
    return all;
  }();

  template <std::size_t K> static auto const& part(delayed_call<Fn, Args...> const& task) noexcept {
    if constexpr (K == 0)
      return task.function();
    else
      return std::get<K - 1>(task.arguments());
  }

  static void write(std::byte* at, delayed_call<Fn, Args...> const& task) noexcept {
    [&]<std::size_t... K>(std::index_sequence<K...>) {
      (put_flat(at + places[K], part<K>(task)), ...);
    }(std::make_index_sequence<n_parts>());
  }

  /// Runs a task. where(k): the bytes of part k. Passes the arguments as the task itself would: as
  /// lvalues of a copy that exists for this run only, so that a result returned by reference must
  /// be copied.
  template <class Where> static auto run_parts(Where const& where) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      constexpr auto moved = static_cast<std::size_t>(arguments_to_move<Fn, Args...>());
      auto fn = get_flat<Fn>(where(0));
      [[maybe_unused]] arguments<std::index_sequence<I...>>
          all;  // read in place: a tuple of values would move them
      (static_cast<argument<I, Args>&>(all).read(where(I + 1)), ...);
      return std::invoke(fn, static_cast<passed_as<moved, I, Args>>(
                                 static_cast<argument<I, Args>&>(all).value())...);
    }(std::index_sequence_for<Args...>{});
  }

 private:
  /// Storage of an argument: read() writes the bytes of a T. These are written once; a T that is
  /// made from a copy would be written twice.
  template <std::size_t I, class T> struct argument {
    alignas(T) std::byte bytes[sizeof(T)];

    void read([[maybe_unused]] std::byte const* at) noexcept {
      if constexpr (flat_part_bytes<T> != 0)
        std::memcpy(bytes, at, sizeof(T));
      else
        std::memset(bytes, 0, sizeof(T));
    }
    T& value() noexcept { return *std::launder(reinterpret_cast<T*>(bytes)); }
  };
  template <class Indices> struct arguments;
  template <std::size_t... I> struct arguments<std::index_sequence<I...>> : argument<I, Args>... {};
};

}  // namespace forkmap::detail
