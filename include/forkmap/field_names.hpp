// What the members of a record are called in a file.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace forkmap {

/// The names of T's members, in their order, under which files hold them: to be specialised for an
/// aggregate whose arrays go to files, where Boost.PFR cannot tell them itself (before Boost 1.84).
///
/// Without, members are told by their positions: a file's field may have any name, and dump() calls
/// them f0, f1, ... as NumPy does.
/// Example:
///   struct particle { double x, y; std::int32_t id; };
///   template <> inline constexpr auto forkmap::field_names<particle> =
///       std::to_array<std::string_view>({"x", "y", "id"});
template <class T> inline constexpr auto field_names = std::array<std::string_view, 0>{};

}  // namespace forkmap
