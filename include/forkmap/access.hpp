// Modes in which load() and memmap open a file: read_only, read_write, copy_on_write, in_memory.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

namespace forkmap {

/// The type of read_only.
struct read_only_t {
  explicit read_only_t() = default;
};
/// The type of read_write.
struct read_write_t {
  explicit read_write_t() = default;
};
/// The type of copy_on_write.
struct copy_on_write_t {
  explicit copy_on_write_t() = default;
};
/// The type of in_memory.
struct in_memory_t {
  explicit in_memory_t() = default;
};

/// Map the file; its elements cannot be written.
inline constexpr read_only_t read_only{};
/// Map the file; writes go to the file and are visible to every process that has it mapped.
inline constexpr read_write_t read_write{};
/// Map the file; writes are private to the process, and the file never changes.
inline constexpr copy_on_write_t copy_on_write{};
/// Read the file into memory of this process.
inline constexpr in_memory_t in_memory{};

namespace detail {

enum class access { read_only, read_write, copy_on_write };

constexpr access access_of(read_only_t /*mode*/) { return access::read_only; }
constexpr access access_of(read_write_t /*mode*/) { return access::read_write; }
constexpr access access_of(copy_on_write_t /*mode*/) { return access::copy_on_write; }

template <class Mode>
concept mapping_mode = requires(Mode mode) { access_of(mode); };

}  // namespace detail
}  // namespace forkmap
