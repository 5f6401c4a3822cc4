// How an array's file is opened: the four words after the file name.
#pragma once

namespace forkmap {

struct read_only_t {
  explicit read_only_t() = default;
};
struct read_write_t {
  explicit read_write_t() = default;
};
struct copy_on_write_t {
  explicit copy_on_write_t() = default;
};
struct in_memory_t {
  explicit in_memory_t() = default;
};

/// The file is mapped and cannot be written through.
inline constexpr read_only_t read_only{};
/// The file is mapped and shared: what is written is seen by every process, and stays.
inline constexpr read_write_t read_write{};
/// The file is mapped; what is written stays in the process that wrote it, the file never changes.
inline constexpr copy_on_write_t copy_on_write{};
/// The file is read into memory of the process's own.
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
