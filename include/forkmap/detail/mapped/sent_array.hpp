// Common parts of arrays that are sent as results.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <type_traits>

#include <forkmap/shape.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

/// The extents and the layout of an array.
struct sent_shape {
  shape dims{};
  order layout = order::c;

  void save(writer& out) const {
    out.put_count(dims.rank());
    for (auto const extent : dims) out.put_count(extent);
    out.put_count(static_cast<std::uint64_t>(layout));
  }
  static sent_shape load(reader& in) {
    std::array<std::size_t, shape::max_rank> extents{};
    auto const rank = static_cast<std::size_t>(in.get_count());
    if (rank > extents.size())
      throw std::runtime_error("forkmap: the shape of a received array is damaged");
    for (std::size_t axis = 0; axis != rank; ++axis) {
      extents[axis] = static_cast<std::size_t>(in.get_count());
    }
    sent_shape sent;
    sent.dims = shape(std::span<std::size_t const>(extents.data(), rank));
    sent.layout = static_cast<order>(in.get_count());
    return sent;
  }
};

/// The part of a mapping that a view covers.
struct sent_part {
  bool is_view = false;  // else the array is the whole mapping, and the other members are unused
  std::size_t first_byte = 0;
  shape dims{};
  order layout = order::c;

  template <class Storage> static sent_part of(Storage const& storage) {
    if (!storage.whole) return {};
    return {true, storage.first_byte(), storage.dims, storage.layout};
  }

  void save(writer& out) const {
    out.put_count(is_view ? first_byte + 1 : 0);
    if (is_view) sent_shape{dims, layout}.save(out);
  }
  static sent_part load(reader& in) {
    auto const offset_plus_1 = in.get_count();
    if (offset_plus_1 == 0) return {};
    auto const sent = sent_shape::load(in);
    return {true, static_cast<std::size_t>(offset_plus_1 - 1), sent.dims, sent.layout};
  }
};

/// The elements of an array, copied.
template <class T> void save_elements(writer& out, T const* data, std::size_t n) {
  out.write(data, n * sizeof(T));
}
template <class T> void load_elements(reader& in, T* data, std::size_t n) {
  in.read(data, n * sizeof(T));
}

}  // namespace forkmap::detail
