// The serialization of tasks that are sent to a pool.
//
//   function pointers      their address: caller and workers are the same program
//   empty callables        nothing
//   delayed calls          the function, then each argument
//   values                 as results are serialized: serialize/codec.hpp
//   char const*            its characters and the 0
//   string_view, span      the elements, in place in the worker until the task has returned
//   cref(container)        the same if fn takes a span; else a copy, one per worker for a block
//
// Blocks above options::max_nbytes are written once per call.
// SPDX-License-Identifier: MIT
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
#include <vector>

#include <forkmap/delayed.hpp>
#include <forkmap/detail/pool/send/arguments.hpp>
#include <forkmap/detail/serialize/call_cache.hpp>
#include <forkmap/detail/serialize/codec.hpp>
#include <forkmap/detail/serialize/send_traits.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

/// Appends contiguous elements, or the offset at which this call has written them already.
template <class T> void send_elements(argument_writer& out, T const* data, std::size_t n) {
  auto const bytes = n * sizeof(T);
  bool const shared = out.is_shared(bytes);
  auto const offset = shared ? out.find(data, bytes) : argument_writer::no_block;
  out.put_count(offset == argument_writer::no_block ? 0 : offset + 1);
  out.put_count(n);
  if (offset != argument_writer::no_block) return;
  out.align(std::min<std::size_t>(alignof(T), 64));
  out.write(data, bytes);
  if (shared) out.remember(data, bytes);
}

template <class T>
std::span<T const> receive_elements(reader& in, argument_reader const& arguments) {
  auto const offset_plus_1 = in.get_count();
  auto const n = static_cast<std::size_t>(in.get_count());
  std::byte const* data = nullptr;
  if (offset_plus_1 != 0) {
    data = arguments.at(offset_plus_1 - 1);
  } else {
    in.align(std::min<std::size_t>(alignof(T), 64));
    data = in.take(n * sizeof(T));
  }
  return {reinterpret_cast<T const*>(data), n};
}

template <class T> inline constexpr char object_tag = 0;

/// Appends an object that is not a block of elements, or the offset at which this call has written
/// it already. The size of an object is known only after it has been written.
template <class T> void send_object(argument_writer& out, T const& value) {
  auto const* const type = &object_tag<T>;
  auto const offset = out.find_object(&value, type);
  out.put_count(offset == argument_writer::no_block ? 0 : offset + 1);
  if (offset != argument_writer::no_block) return;
  auto const begin = out.size();
  encode<T>(out, value);
  if (out.is_shared(static_cast<std::size_t>(out.size() - begin))) {
    out.remember_object(&value, type, begin);
  }
}

/// Appends the elements of a span as those of a std::vector, or the offset at which this call has written
/// them already.
template <class T> void send_objects(argument_writer& out, std::span<T const> all) {
  auto const* const type = &object_tag<std::span<T const>>;
  auto const offset = out.find_object(all.data(), type, all.size_bytes());
  out.put_count(offset == argument_writer::no_block ? 0 : offset + 1);
  if (offset != argument_writer::no_block) return;
  auto const begin = out.size();
  encode_container(out, all);
  if (out.is_shared(static_cast<std::size_t>(out.size() - begin)))
    out.remember_object(all.data(), type, begin, all.size_bytes());
}

/// The worker's copy of a T that was passed with cref: kept for the call if it is a block, else for
/// the task.
template <class T> T const& receive_reference(reader& in, argument_reader const& arguments) {
  auto& cache = arguments.cache();
  auto const keep = [&](std::byte const* at, std::size_t bytes, auto const& make) -> T const& {
    if (!arguments.is_shared(bytes)) return cache.template of_task<T>(make);
    auto const offset = at - arguments.at(0);
    return cache.template of_call<T>({reinterpret_cast<char const*>(&offset), sizeof offset}, make);
  };
  if constexpr (sent_as_elements<T>) {
    auto const all = receive_elements<std::ranges::range_value_t<T>>(in, arguments);
    auto const* const at = reinterpret_cast<std::byte const*>(all.data());
    return keep(at, all.size_bytes(), [&] {
      if constexpr (requires { T(all.begin(), all.end()); }) {
        return T(all.begin(), all.end());
      } else {
        T copy{};
        std::ranges::copy(all, std::ranges::begin(copy));
        return copy;
      }
    });
  } else if (auto const offset_plus_1 = in.get_count(); offset_plus_1 != 0) {
    auto const* const at = arguments.at(offset_plus_1 - 1);
    constexpr std::size_t block = ~std::size_t{0};
    return keep(at, block, [&] {
      reader object(at, arguments.at(arguments.size()));
      return decode<T>(object);
    });
  } else {
    auto const* const at = in.take(0);
    auto object = decode<T>(in);
    return keep(at, static_cast<std::size_t>(in.take(0) - at), [&] { return std::move(object); });
  }
}

template <class T> void send_task(argument_writer& out, T const& task);

/// Appends one argument, stored as T.
template <class T> void send(argument_writer& out, std::remove_reference_t<T> const& value) {
  constexpr auto chosen = sent_as<T>;
  using plain = std::remove_cvref_t<T>;
  if constexpr (chosen == sent::as_address) {
    out.write(std::addressof(value), sizeof value);
  } else if constexpr (chosen == sent::as_call) {
    send_task(out, value);
  } else if constexpr (chosen == sent::as_c_string) {
    send_elements(out, value, value == nullptr ? 0 : std::strlen(value) + 1);
  } else if constexpr (chosen == sent::as_objects) {
    send_objects<typename plain::value_type>(out, value);
  } else if constexpr (chosen == sent::as_elements ||
                       (chosen == sent::as_reference && sent_as_elements<plain>)) {
    send_elements(out, std::ranges::data(value), std::ranges::size(value));
  } else if constexpr (sent_by_argument_serializer<plain>) {
    serializer<plain>::save_argument(out, value);
  } else if constexpr (chosen == sent::as_reference) {
    send_object(out, value);
  } else if constexpr (chosen == sent::as_value) {
    encode<plain>(out, value);
  }
}

template <class T>
auto receive_task(reader& in, argument_reader const& arguments) -> typename received_call<T>::type;

/// Reads one argument that was stored as T. As: the type that it becomes in the worker.
template <class T, class As> As receive(reader& in, argument_reader const& arguments) {
  constexpr auto chosen = sent_as<T>;
  if constexpr (chosen == sent::as_address) {
    As value{};
    in.read(&value, sizeof value);
    return value;
  } else if constexpr (chosen == sent::as_stateless) {
    return std::bit_cast<As>(std::byte{});
  } else if constexpr (chosen == sent::as_call) {
    return receive_task<std::remove_cvref_t<T>>(in, arguments);
  } else if constexpr (chosen == sent::as_c_string) {
    auto const text = receive_elements<char>(in, arguments);
    return text.empty() ? nullptr : text.data();
  } else if constexpr (chosen == sent::as_objects) {
    auto const& all = receive_reference<std::vector<typename As::value_type>>(in, arguments);
    return As(all.data(), all.size());
  } else if constexpr (chosen == sent::as_elements) {
    using element = std::remove_cv_t<std::ranges::range_value_t<As>>;
    auto const all = receive_elements<element>(in, arguments);
    return As(all.data(), all.size());
  } else if constexpr (chosen == sent::as_reference && is_span<As>) {
    return receive_elements<std::remove_cv_t<typename As::element_type>>(in, arguments);
  } else if constexpr (chosen == sent::as_reference) {
    return receive_reference<std::remove_cvref_t<As>>(in, arguments);
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
