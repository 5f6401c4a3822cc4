// A result and the task that it is of.
#pragma once

#include <cstddef>
#include <type_traits>
#include <variant>

namespace forkmap {

/// What first() returns: the index of a task in its range, and its result; std::monostate stands
/// for void.
template <class R> struct indexed {
  using value_type = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

  std::size_t index;
  value_type value;
};

}  // namespace forkmap
