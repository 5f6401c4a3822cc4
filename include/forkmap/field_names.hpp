// Field names of a record type in files.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <array>
#include <cstddef>
#include <string_view>

namespace forkmap {

/// The field names of the record type T in files, one per member, in the order of the members.
/// Specialize it for an aggregate if Boost.PFR cannot find the names itself (before Boost 1.84).
///
/// Without names, members and fields are matched by position: a field in a file may have any name,
/// and dump() writes f0, f1, ... as NumPy does.
/// Example:
///   struct particle { double x, y; std::int32_t id; };
///   template <> inline constexpr auto forkmap::field_names<particle> =
///       std::to_array<std::string_view>({"x", "y", "id"});
template <class T> inline constexpr auto field_names = std::array<std::string_view, 0>{};

}  // namespace forkmap
