// The bytes of tasks that are sent.
//
//   function pointers      their address: caller and workers are the same program
//   empty callables        nothing
//   delayed calls          the function, then each argument
//   values                 as results travel: transfer/codec.hpp
//   char const*            its characters and the 0
//   string_view, span      the elements, in place in the worker until the task has returned
//   cref(container)        the same where fn takes a span; else a copy
//
// Blocks above options::max_nbytes are written once per call.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <ranges>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

#include <forkmap/delayed.hpp>
#include <forkmap/transfer/bytes.hpp>
#include <forkmap/transfer/codec.hpp>
#include <forkmap/transfer/portable_traits.hpp>
#include <forkmap/transfer/shared_arguments.hpp>

namespace forkmap::detail {

/// Appends contiguous elements: in place, or where they lie already.
template <class T> void send_elements(argument_writer& out, T const* data, std::size_t n) {
  auto const bytes = n * sizeof(T);
  bool const shared = out.is_shared(bytes);
  auto const there = shared ? out.find(data, bytes) : argument_writer::no_block;
  out.put_count(there == argument_writer::no_block ? 0 : there + 1);
  out.put_count(n);
  if (there != argument_writer::no_block) return;
  out.align(std::min<std::size_t>(alignof(T), 64));
  out.write(data, bytes);
  if (shared) out.remember(data, bytes);
}

template <class T>
std::span<T const> receive_elements(reader& in, argument_reader const& arguments) {
  auto const there = in.get_count();
  auto const n = static_cast<std::size_t>(in.get_count());
  std::byte const* data = nullptr;
  if (there != 0) {
    data = arguments.at(there - 1);
  } else {
    in.align(std::min<std::size_t>(alignof(T), 64));
    data = in.take(n * sizeof(T));
  }
  return {reinterpret_cast<T const*>(data), n};
}

template <class T> void send_task(argument_writer& out, T const& task);

inline constexpr std::size_t any_size = std::size_t{1} << 40U;

/// How many bytes send_task writes of every T; 0 if that depends on the task.
template <class T> consteval std::size_t fixed_bytes();

/// The same of an argument or a function, where 0 means none: any_size if it depends.
template <class T> consteval std::size_t fixed_bytes_of_part() {
  if constexpr (sent_as<T> == sent::as_stateless) {
    return 0;
  } else if constexpr (sent_as<T> == sent::as_address) {
    return sizeof(T);
  } else if constexpr (sent_as<T> == sent::as_call) {
    return fixed_bytes<T>() != 0 ? fixed_bytes<T>() : any_size;
  } else if constexpr (sent_as<T> == sent::as_value) {
    return travels_v<T> == travel::as_bytes ? sizeof(T) : any_size;
  } else {
    return any_size;
  }
}

template <class T> consteval std::size_t fixed_bytes() {
  if constexpr (is_delayed_call<T>) {
    return []<class... Args>(std::type_identity<std::tuple<Args...>>) {
      constexpr std::size_t all =
          (fixed_bytes_of_part<typename T::function_type>() + ... + fixed_bytes_of_part<Args>());
      return all >= any_size ? std::size_t{0} : all;
    }(std::type_identity<typename T::arguments_type>{});
  } else if constexpr (function_address<T>) {
    return sizeof(T);
  } else {
    return 0;
  }
}

/// Appends one argument, stored as T.
template <class T> void send(argument_writer& out, std::remove_reference_t<T> const& value) {
  constexpr auto how = sent_as<T>;
  using plain = std::remove_cvref_t<T>;
  if constexpr (how == sent::as_address) {
    out.write(std::addressof(value), sizeof value);
  } else if constexpr (how == sent::as_call) {
    send_task(out, value);
  } else if constexpr (how == sent::as_c_string) {
    send_elements(out, value, value == nullptr ? 0 : std::strlen(value) + 1);
  } else if constexpr (how == sent::as_elements ||
                       (how == sent::as_reference && sendable_elements<plain>)) {
    send_elements(out, std::ranges::data(value), std::ranges::size(value));
  } else if constexpr (sent_by_argument_serializer<plain>) {
    serializer<plain>::save_argument(out, value);
  } else if constexpr (how == sent::as_reference || how == sent::as_value) {
    encode<plain>(out, value);
  }
}

template <class T>
auto receive_task(reader& in, argument_reader const& arguments) -> typename received_call<T>::type;

/// Reads one argument that was stored as T. As: what is made of it.
template <class T, class As> As receive(reader& in, argument_reader const& arguments) {
  constexpr auto how = sent_as<T>;
  if constexpr (how == sent::as_address) {
    As value{};
    in.read(&value, sizeof value);
    return value;
  } else if constexpr (how == sent::as_stateless) {
    return std::bit_cast<As>(std::byte{});
  } else if constexpr (how == sent::as_call) {
    return receive_task<std::remove_cvref_t<T>>(in, arguments);
  } else if constexpr (how == sent::as_c_string) {
    auto const text = receive_elements<char>(in, arguments);
    return text.empty() ? nullptr : text.data();
  } else if constexpr (how == sent::as_elements) {
    using element = std::remove_cv_t<std::ranges::range_value_t<As>>;
    auto const all = receive_elements<element>(in, arguments);
    return As(all.data(), all.size());
  } else if constexpr (how == sent::as_reference && sendable_elements<std::remove_cvref_t<T>>) {
    using element = std::ranges::range_value_t<std::remove_cvref_t<T>>;
    auto const all = receive_elements<element>(in, arguments);
    if constexpr (is_span<As>)
      return all;
    else if constexpr (requires { As(all.begin(), all.end()); })
      return As(all.begin(), all.end());
    else {
      As copy{};
      std::ranges::copy(all, std::ranges::begin(copy));
      return copy;
    }
  } else if constexpr (sent_by_argument_serializer<As>) {
    return serializer<As>::load_argument(in);
  } else {
    return decode<As>(in);
  }
}

template <class T> void send_task(argument_writer& out, T const& task) {
  if constexpr (is_delayed_call<T>) {
    send_task(out, task.function());
    [&]<class... Args>(std::type_identity<std::tuple<Args...>>) {
      std::apply([&](auto const&... arguments) { (send<Args>(out, arguments), ...); },
                 task.arguments());
    }(std::type_identity<typename T::arguments_type>{});
  } else if constexpr (function_address<T>) {
    out.write(std::addressof(task), sizeof task);
  }
}

template <class T, class... Args, class... Received>
auto receive_call(reader& in, argument_reader const& arguments,
                  std::type_identity<std::tuple<Args...>>,
                  std::type_identity<std::tuple<Received...>>) {
  auto fn = receive_task<typename T::function_type>(in, arguments);
  using call = delayed_call<decltype(fn), Received...>;
  // Braces evaluate from left to right, which is the order of the bytes.
  return std::make_from_tuple<call>(
      std::tuple_cat(std::tuple<std::in_place_t, decltype(fn)>(std::in_place, std::move(fn)),
                     std::tuple<Received...>{receive<Args, Received>(in, arguments)...}));
}

/// Reads what send_task wrote of a T.
template <class T>
auto receive_task(reader& in, argument_reader const& arguments) -> typename received_call<T>::type {
  if constexpr (is_delayed_call<T>) {
    using received = typename received_call<T>::type;
    return receive_call<T>(in, arguments, std::type_identity<typename T::arguments_type>{},
                           std::type_identity<typename received::arguments_type>{});
  } else if constexpr (function_address<T>) {
    T function{};
    in.read(&function, sizeof function);
    return function;
  } else {
    return std::bit_cast<T>(std::byte{});
  }
}

}  // namespace forkmap::detail
