// Many flat tasks, in chunks of columns: what is the same in all tasks of a chunk, the function above
// all and what configures it, is written once, so that memory moves what differs and no more.
//
//   a chunk       begin of each part's column, n_parts numbers; 0: it has none, all are as the first
//                 the first task, as flat_call writes it
//   its columns   begun when a part first differs: that part of each task, side by side
//
// Places are counted from the begin of the call's arguments, where the first chunk is.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <forkmap/plan/dispatch.hpp>
#include <forkmap/transfer/flat_call.hpp>
#include <forkmap/transfer/sending.hpp>
#include <forkmap/transfer/shared_arguments.hpp>

namespace forkmap::detail {

/// Reads each byte, which no constant expression may do with those that nobody has written.
template <class Part> consteval bool is_all_written(Part const& part) {
  unsigned all = 0;
  for (auto const byte : std::bit_cast<std::array<unsigned char, sizeof(Part)>>(part)) all |= byte;
  return all <= 0xff;
}

/// Whether a type has no bytes between its members. False where the compiler cannot tell.
template <class Part>
inline constexpr bool has_no_padding = std::has_unique_object_representations_v<Part> || requires {
  typename std::bool_constant<is_all_written(Part{})>;
};

/// The bytes of a part, to be compared: what lies between its members says nothing, and nobody has
/// written it. Where there is nothing they are read where they are: a copy of what has just been
/// written would have to wait for it.
template <class Part> class comparable_bytes {
 public:
  explicit comparable_bytes(Part const& part) noexcept {
    std::memcpy(at_, std::addressof(part), sizeof part);
#if __has_builtin(__builtin_clear_padding)
    __builtin_clear_padding(std::launder(reinterpret_cast<Part*>(at_)));
#endif
  }
  void const* data() const noexcept { return at_; }

 private:
  alignas(Part) std::byte at_[sizeof(Part)];
};
template <class Part>
  requires has_no_padding<Part>
class comparable_bytes<Part> {
 public:
  explicit comparable_bytes(Part const& part) noexcept : part_(part) {}
  void const* data() const noexcept { return std::addressof(part_); }

 private:
  Part const& part_;
};

template <class Task> class column_writer {
  using call = flat_call<Task>;
  using part_numbers = std::make_index_sequence<call::n_parts>;

 public:
  static constexpr std::size_t head_bytes = call::n_parts * sizeof(std::uint64_t) + call::bytes;
  /// What n tasks take at most.
  static constexpr std::uint64_t most_bytes(std::uint64_t n) {
    return divide_up(n, sending::chunk) * head_bytes + n * call::bytes;
  }

  explicit column_writer(argument_writer& out) noexcept : out_(out) {}

  /// Begins a chunk of that many tasks with its first one, which is added as the others are.
  /// Returns: its place.
  std::uint64_t begin_chunk(std::uint64_t n_tasks, Task const& first) {
    n_tasks_ = n_tasks;
    begin_ = out_.size();
    out_.take(head_bytes);
    places_.fill(0);
    columns_.fill(nullptr);
    [&]<std::size_t... K>(std::index_sequence<K...>) {
      (keep_part<K>(call::template part<K>(first)), ...);
    }(part_numbers());
    return begin_;
  }

  /// Adds task j of the chunk, after those before it.
  void add(std::uint64_t j, Task const& task) {
    [&]<std::size_t... K>(std::index_sequence<K...>) {
      (add_part<K>(j, call::template part<K>(task)), ...);
    }(part_numbers());
  }

  void end_chunk() noexcept {
    auto* const head = out_.at(begin_);
    std::memcpy(head, places_.data(), sizeof places_);
    std::memcpy(head + sizeof places_, first_.data(), first_.size());
  }

 private:
  template <std::size_t K, class Part> void keep_part(Part const& part) noexcept {
    if constexpr (call::part_bytes[K] != 0) {
      comparable_bytes<Part> const bytes(part);
      std::memcpy(first_.data() + call::places[K], bytes.data(), sizeof part);
    }
  }

  template <std::size_t K, class Part> void add_part(std::uint64_t j, Part const& part) {
    if constexpr (call::part_bytes[K] != 0) {
      if (columns_[K] == nullptr) {
        comparable_bytes<Part> const bytes(part);
        if (std::memcmp(bytes.data(), first_.data() + call::places[K], sizeof part) == 0) return;
        begin_column(K, j);
      }
      std::memcpy(columns_[K] + j * sizeof part, std::addressof(part), sizeof part);
    }
  }

  /// In which the first j are as the first one.
  [[gnu::noinline, gnu::cold]] void begin_column(std::size_t k, std::uint64_t j) {
    auto const bytes = call::part_bytes[k];
    places_[k] = out_.size();
    out_.take(static_cast<std::size_t>(n_tasks_) * bytes);
    // The bytes may have moved.
    for (std::size_t i = 0; i != call::n_parts; ++i) {
      columns_[i] = places_[i] == 0 ? nullptr : out_.at(places_[i]);
    }
    for (auto* to = columns_[k]; j != 0; --j, to += bytes) {
      std::memcpy(to, first_.data() + call::places[k], bytes);
    }
  }

  argument_writer& out_;
  std::uint64_t n_tasks_ = 0;
  std::uint64_t begin_ = 0;
  std::array<std::uint64_t, call::n_parts> places_{};
  std::array<std::byte*, call::n_parts> columns_{};
  std::array<std::byte, call::bytes> first_{};
};

/// Where the parts of tasks lie that were sent together: each a number of bytes behind that of the task
/// before. No memory is written between two tasks: the next would wait for it.
template <class Task> class part_places {
  using call = flat_call<Task>;

 public:
  /// The tasks of the chunk at `begin`, of which the first is task `first`.
  void in_chunk(argument_reader const& arguments, std::uint64_t begin,
                std::uint64_t first) noexcept {
    std::array<std::uint64_t, call::n_parts> columns;
    auto const* const head = arguments.at(begin);
    std::memcpy(columns.data(), head, sizeof columns);
    first_ = first;
    for (std::size_t k = 0; k != call::n_parts; ++k) {
      bool const same = columns[k] == 0;
      steps_[k] = same ? 0 : call::part_bytes[k];
      at_[k] = same ? head + sizeof columns + call::places[k] : arguments.at(columns[k]);
    }
  }

  /// Tasks in one piece each, as flat_call writes them.
  void in_rows(std::byte const* at, std::uint64_t first) noexcept {
    first_ = first;
    steps_.fill(call::bytes);
    for (std::size_t k = 0; k != call::n_parts; ++k) at_[k] = at + call::places[k];
  }

  auto run(std::uint64_t i) const {
    return call::run_parts([&](std::size_t k) { return at_[k] + (i - first_) * steps_[k]; });
  }

 private:
  std::uint64_t first_ = 0;
  std::array<std::byte const*, call::n_parts> at_{};
  std::array<std::size_t, call::n_parts> steps_{};
};

}  // namespace forkmap::detail
