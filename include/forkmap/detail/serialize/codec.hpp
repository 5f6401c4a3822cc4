// Encoding of values as bytes, and decoding, as the value's type requires.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>

#include <boost/pfr/core.hpp>

#include <forkmap/detail/demangled.hpp>
#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/serialize/known_address.hpp>
#include <forkmap/detail/serialize/traits.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

template <class T> void encode(writer& out, T const& value);
template <class T> T decode(reader& in);
/// The type of a part of a value, without const and volatile.
template <class T> using part_of = std::remove_cv_t<T>;

/// A container with contiguous elements that are sent as bytes: one copy for all elements.
template <class C>
concept block_container = std::ranges::contiguous_range<C const> &&
                          (serialization_of<typename C::value_type> == encoding::as_bytes) &&
                          std::is_copy_assignable_v<typename C::value_type> &&
                          std::default_initializable<typename C::value_type> &&
                          requires(C& c, typename C::value_type const* p) {
                            c.assign(p, p);
                            c.resize(std::size_t{});
                          };

/// Blocks of at least this many bytes are aligned for their elements, so that they can be read in
/// place.
inline constexpr std::size_t aligned_block_bytes = 256;

template <class C> void encode_container(writer& out, C const& c) {
  auto const n = static_cast<std::uint64_t>(std::ranges::distance(c));
  out.put_count(n);
  if constexpr (block_container<C>) {
    using value_type = typename C::value_type;
    auto const bytes = static_cast<std::size_t>(n) * sizeof(value_type);
    if constexpr (alignof(value_type) > 1 && alignof(value_type) <= 64) {
      if (bytes >= aligned_block_bytes) out.align(alignof(value_type));
    }
    out.write(std::ranges::data(c), bytes);
  } else if constexpr (std::same_as<typename C::value_type, bool>) {  // std::vector<bool>'s proxies
    for (bool const element : c) encode<bool>(out, element);
  } else {
    for (auto const& element : c) encode(out, element);
  }
}

/// Fills an empty container with the n elements of a block.
template <class C> void decode_block(reader& in, std::size_t n, C& c) {
  using value_type = typename C::value_type;
  std::size_t bytes = 0;
  // After an overflow, take() throws.
  if (__builtin_mul_overflow(n, sizeof(value_type), &bytes)) bytes = ~std::size_t{0};
  if constexpr (alignof(value_type) > 1 && alignof(value_type) <= 64) {
    if (bytes >= aligned_block_bytes) in.align(alignof(value_type));
  }
  auto const* const data = in.take(bytes);
  if (bytes >= populate_bytes) {
    if constexpr (requires { c.reserve(n); }) {
      c.reserve(n);
      prefault_to_fill(c.data(), bytes);
    }
  }
  if (reinterpret_cast<std::uintptr_t>(data) % alignof(value_type) == 0) {
    auto const* const first = reinterpret_cast<value_type const*>(data);
    c.assign(first, first + n);  // one pass: resize() would write every element twice
  } else {
    c.resize(n);
    std::memcpy(c.data(), data, bytes);
  }
}

template <class C> C decode_container(reader& in) {
  auto const n = in.get_count();
  C c;
  if (n == 0) return c;
  if constexpr (block_container<C>) {
    decode_block(in, static_cast<std::size_t>(n), c);
  } else {
    if constexpr (requires { c.reserve(std::size_t{}); }) {
      c.reserve(std::min(static_cast<std::size_t>(n), in.left()));  // n may be damaged
    }
    [[maybe_unused]] auto last = [&] {
      if constexpr (requires { c.before_begin(); })
        return c.before_begin();
      else
        return 0;
    }();
    for (std::uint64_t i = 0; i != n; ++i) {
      if constexpr (requires { c.push_back(decode<element_of<C>>(in)); }) {
        c.push_back(decode<element_of<C>>(in));
      } else if constexpr (requires { c.insert(c.end(), decode<element_of<C>>(in)); }) {
        c.insert(c.end(), decode<element_of<C>>(in));
      } else {
        last = c.insert_after(last, decode<element_of<C>>(in));
      }
    }
  }
  return c;
}

template <class T> T decode_bytes(reader& in) {
  alignas(T) std::byte storage[sizeof(T)];
  in.read(storage, sizeof storage);
  return std::move(*std::launder(reinterpret_cast<T*>(storage)));
}

template <class V> V decode_variant(reader& in) {
  std::uint64_t index = 0;
  in.read(&index, sizeof index);
  return [&]<std::size_t... I>(std::index_sequence<I...>) -> V {
    std::optional<V> value;
    (void)((I == index ? (static_cast<void>(
                              value.emplace(std::in_place_index<I>,
                                            decode<part_of<std::variant_alternative_t<I, V>>>(in))),
                          true)
                       : false) ||
           ...);
    if (!value) throw std::bad_variant_access();
    return std::move(*value);
  }(std::make_index_sequence<std::variant_size_v<V>>{});
}

[[noreturn]] inline void refuse_load(std::type_info const& type, std::string const& reads,
                                     std::uint64_t bytes) {
  auto const name = "serializer<" + demangled(type.name()) + '>';
  throw std::runtime_error("forkmap: " + name + "::load reads " + reads + " the " +
                           std::to_string(bytes) + " bytes that " + name + "::save wrote");
}

/// Reads a value with its serializer's load, which gets the bytes that save wrote and no others.
/// Errors: std::runtime_error if load reads fewer or more bytes.
template <class T> T decode_by_serializer(reader& in) {
  std::uint64_t bytes = 0;
  in.read(&bytes, sizeof bytes);
  auto const* const begin = in.take(bytes);
  reader part(begin, begin + bytes);
  try {
    if constexpr (std::move_constructible<T>) {
      T value = serializer<T>::load(part);
      if (part.left() != 0) {
        refuse_load(typeid(T), "only " + std::to_string(bytes - part.left()) + " of", bytes);
      }
      return value;
    } else {
      return serializer<T>::load(part);
    }
  } catch (out_of_bytes const& e) {
    auto const wanted = bytes + e.missing();
    refuse_load(typeid(T), std::to_string(wanted) + " bytes, more than", bytes);
  }
}

/// Appends `value`, encoded as serialization_of<T> says.
template <class T> void encode(writer& out, T const& value) {
  constexpr auto chosen = serialization_of<T>;
  static_assert(!refused(chosen),
                "forkmap: writer::put: this type cannot be sent between processes; specialise "
                "forkmap::serializer for it");
  if constexpr (chosen == encoding::by_serializer) {
    auto const begun = out.begin_part();
    serializer<T>::save(out, value);
    out.end_part(begun);
  } else if constexpr (chosen == encoding::by_address) {
    save_address(out, value);
  } else if constexpr (chosen == encoding::as_bytes) {
    out.write(std::addressof(value), sizeof value);
  } else if constexpr (chosen == encoding::as_container) {
    encode_container(out, value);
  } else if constexpr (chosen == encoding::as_path) {
    encode(out, value.native());
  } else if constexpr (chosen == encoding::as_tuple) {
    std::apply([&](auto const&... parts) { (encode(out, parts), ...); }, value);
  } else if constexpr (chosen == encoding::as_optional) {
    encode(out, value.has_value());
    if (value) encode(out, *value);
  } else if constexpr (chosen == encoding::as_variant) {
    auto const index = static_cast<std::uint64_t>(value.index());
    encode(out, index);
    if (value.valueless_by_exception()) throw std::bad_variant_access();
    std::visit([&](auto const& alternative) { encode(out, alternative); }, value);
  } else if constexpr (chosen == encoding::as_unique_ptr) {
    encode(out, value != nullptr);
    if (value) encode(out, *value);
  } else if constexpr (chosen == encoding::as_aggregate) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (encode(out, member_of<I>(value)), ...);
    }(std::make_index_sequence<n_members<T>()>{});
  }
}

/// Reads a value that encode() wrote. Initialisers in braces are evaluated from left to right,
/// which is the order of the bytes.
template <class T> T decode(reader& in) {
  constexpr auto chosen = serialization_of<T>;
  static_assert(!refused(chosen),
                "forkmap: reader::get: this type cannot be sent between processes; specialise "
                "forkmap::serializer for it");
  if constexpr (chosen == encoding::by_serializer) {
    return decode_by_serializer<T>(in);
  } else if constexpr (chosen == encoding::by_address) {
    return load_address<T>(in);
  } else if constexpr (chosen == encoding::as_bytes) {
    return decode_bytes<T>(in);
  } else if constexpr (chosen == encoding::as_container) {
    return decode_container<T>(in);
  } else if constexpr (chosen == encoding::as_path) {
    return T(decode<typename T::string_type>(in));
  } else if constexpr (chosen == encoding::as_tuple) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return T{decode<part_of<std::tuple_element_t<I, T>>>(in)...};
    }(std::make_index_sequence<std::tuple_size_v<T>>{});
  } else if constexpr (chosen == encoding::as_optional) {
    if (!decode<bool>(in)) return std::nullopt;
    return T(std::in_place, decode<part_of<typename T::value_type>>(in));
  } else if constexpr (chosen == encoding::as_variant) {
    return decode_variant<T>(in);
  } else if constexpr (chosen == encoding::as_unique_ptr) {
    using pointee = typename T::element_type;
    if (!decode<bool>(in)) return nullptr;
    return T(new pointee(decode<part_of<pointee>>(in)));
  } else if constexpr (chosen == encoding::as_aggregate) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return T{decode<member_type<I, T>>(in)...};
    }(std::make_index_sequence<n_members<T>()>{});
  }
}

}  // namespace forkmap::detail

template <class T> void forkmap::writer::put(T const& value) { detail::encode(*this, value); }
template <class T> T forkmap::reader::get() { return detail::decode<T>(*this); }
