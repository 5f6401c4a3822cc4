// Chunks of fixed-size tasks in columns. A part that is the same in all tasks of a chunk, above all
// the function and its configuration, is written once, so that only parts that differ are moved
// through memory.
//
//   a chunk       begin of each part's column, n_parts numbers; 0: no column, the part is the same
//                 in all tasks
//                 the first task, as flat_call writes it
//   its columns   begun when a part first differs: that part of each task, side by side
//
// Begins are offsets from the begin of the call's arguments, where the first chunk is.
// SPDX-License-Identifier: MIT
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

#include <forkmap/detail/memory/prefault.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/plan/dispatch.hpp>
#include <forkmap/detail/pool/fast/flat_call.hpp>
#include <forkmap/detail/pool/send/arguments.hpp>

namespace forkmap::detail {

/// Reads each byte of a part. That is no constant expression if one is padding, which is
/// uninitialised.
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

/// The bytes of a part, to be compared. This is a copy in which padding is cleared: padding has no
/// meaning and is uninitialised. A part without padding is read in place: a copy of bytes that have
/// just been written would have to wait for these writes.
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

/// Whether n bytes are the same. Compares word by word, inline. A call of memcmp would hide from
/// the optimiser that bytes that are constant, or just computed, need not be compared for each
/// task.
template <std::size_t N>
[[gnu::always_inline]] inline bool same_bytes(void const* a, void const* b) noexcept {
  using word = std::uint64_t;
  constexpr std::size_t rest = N % sizeof(word);
  auto const difference = [&]<class T>(T, std::size_t at) __attribute__((always_inline)) {
    T x{}, y{};
    std::memcpy(&x, static_cast<std::byte const*>(a) + at, sizeof x);
    std::memcpy(&y, static_cast<std::byte const*>(b) + at, sizeof y);
    return static_cast<word>(x ^ y);
  };
  word all = [&]<std::size_t... W>(std::index_sequence<W...>) __attribute__((always_inline)) {
    return (word{0} | ... | difference(word{}, W * sizeof(word)));
  }(std::make_index_sequence<N / sizeof(word)>{});
  if constexpr ((rest & 4U) != 0) all |= difference(std::uint32_t{}, N - rest);
  if constexpr ((rest & 2U) != 0) all |= difference(std::uint16_t{}, N - rest % 4);
  if constexpr ((rest & 1U) != 0) all |= difference(std::uint8_t{}, N - 1);
  return all == 0;
}

/// Up to this size a task may be held in registers and loops over it unrolled: an argument can have
/// megabytes, too.
inline constexpr std::size_t most_unrolled_bytes = 256;

template <class Task> class column_writer {
  using call = flat_call<Task>;
  using part_numbers = std::make_index_sequence<call::n_parts>;

 public:
  static constexpr std::size_t head_bytes = call::n_parts * sizeof(std::uint64_t) + call::bytes;
  /// At most this many bytes are written for n tasks.
  static constexpr std::uint64_t most_bytes(std::uint64_t n) {
    return divide_up(n, sending::chunk) * head_bytes + n * call::bytes;
  }

  explicit column_writer(argument_writer& out) noexcept : out_(out) {}

  /// Writes a chunk of the next n tasks, n > 0.
  /// Returns: its offset.
  template <class Iterator> std::uint64_t write_chunk(std::uint64_t n, Iterator& next) {
    n_tasks_ = n;
    auto const begin = out_.size();
    out_.take(head_bytes);
    offsets_.fill(0);
    columns_.fill(nullptr);
    note_bytes(first_, *next);
    ++next;
    // Local copies, which no other code can change, stay in registers.
    std::conditional_t<is_small, task_bytes const, task_bytes const&> first = first_;
    auto columns = columns_;
    for (std::uint64_t j = 1; j != n; ++j, ++next) {
      auto&& task = *next;
      if (add_to(first, columns, j, task)) [[likely]]
        continue;
      begin_columns(j, task);
      columns = columns_;
    }
    end_streaming();
    auto* const head = out_.at(begin);
    std::memcpy(head, offsets_.data(), sizeof offsets_);
    std::memcpy(head + sizeof offsets_, first_.data(), first_.size());
    return begin;
  }

 private:
  using task_bytes = std::array<std::byte, call::bytes>;
  using column_begins = std::array<std::byte*, call::n_parts>;

  static constexpr bool is_small = call::bytes <= most_unrolled_bytes;

  /// Copies the parts of a task, to be compared.
  static void note_bytes(task_bytes& into, Task const& task) noexcept {
    [&]<std::size_t... K>(std::index_sequence<K...>) {
      (put_part<K>(into, call::template part<K>(task)), ...);
    }(part_numbers());
  }
  template <std::size_t K, class Part>
  static void put_part(task_bytes& into, Part const& part) noexcept {
    if constexpr (call::part_bytes[K] != 0) {
      comparable_bytes<Part> const bytes(part);
      std::memcpy(into.data() + call::places[K], bytes.data(), sizeof part);
    }
  }

  /// Adds task j to the columns; the tasks before it have been added.
  /// Returns: false if it needs a column that has not been begun.
  [[gnu::always_inline]] static bool add_to(task_bytes const& first, column_begins const& columns,
                                            std::uint64_t j, Task const& task) noexcept {
    return [&]<std::size_t... K>(std::index_sequence<K...>) __attribute__((always_inline)) {
      return (add_part<K>(first, columns[K], j, call::template part<K>(task)) && ...);
    }(part_numbers());
  }
  template <std::size_t K, class Part>
  [[gnu::always_inline]] static bool add_part(task_bytes const& first, std::byte* column,
                                              std::uint64_t j, Part const& part) noexcept {
    if constexpr (call::part_bytes[K] != 0) {
      if (column == nullptr) return is_as_first<K>(first, part);
      auto* const to = column + j * sizeof part;
      if constexpr (is_small && sizeof part % sizeof(std::uint64_t) == 0 &&
                    call::n_parts <= most_streams)
        store_streaming(to, part);
      else
        std::memcpy(to, std::addressof(part), sizeof part);
    }
    return true;
  }
  template <std::size_t K, class Part>
  [[gnu::always_inline]] static bool is_as_first(task_bytes const& first,
                                                 Part const& part) noexcept {
    comparable_bytes<Part> const bytes(part);
    auto const* const of_first = first.data() + call::places[K];
    if constexpr (is_small)
      return same_bytes<sizeof part>(bytes.data(), of_first);
    else
      return std::memcmp(bytes.data(), of_first, sizeof part) == 0;
  }

  /// Begins the columns that task j needs, and adds the task. Passes on a copy of it, which lies on
  /// the stack if the task is small. If the address of the task itself were passed on, the compiler
  /// would assume that other code changes it, and would read it again for each task.
  void begin_columns(std::uint64_t j, Task const& task) {
    if constexpr (is_small) {
      task_bytes bytes{};
      note_bytes(bytes, task);
      begin_and_add(j, bytes);
    } else {
      owner<task_bytes> const bytes(new task_bytes());
      note_bytes(*bytes, task);
      begin_and_add(j, *bytes);
    }
  }
  [[gnu::noinline, gnu::cold]] void begin_and_add(std::uint64_t j, task_bytes const& task) {
    for (std::size_t k = 0; k != call::n_parts; ++k) {
      auto const bytes = call::part_bytes[k];
      auto const* const part = task.data() + call::places[k];
      if (columns_[k] == nullptr && std::memcmp(part, first_.data() + call::places[k], bytes) != 0)
        begin_column(k, j);
    }
    for (std::size_t k = 0; k != call::n_parts; ++k) {
      auto const bytes = call::part_bytes[k];
      if (columns_[k] != nullptr)
        std::memcpy(columns_[k] + j * bytes, task.data() + call::places[k], bytes);
    }
  }

  /// Begins the column of part k, in which the first j tasks are as the first one.
  void begin_column(std::size_t k, std::uint64_t j) {
    auto const bytes = call::part_bytes[k];
    offsets_[k] = out_.size();
    out_.take(static_cast<std::size_t>(n_tasks_) * bytes);
    // take() may have moved the bytes.
    for (std::size_t i = 0; i != call::n_parts; ++i) {
      columns_[i] = offsets_[i] == 0 ? nullptr : out_.at(offsets_[i]);
    }
    for (auto* to = columns_[k]; j != 0; --j, to += bytes) {
      std::memcpy(to, first_.data() + call::places[k], bytes);
    }
  }

  argument_writer& out_;
  std::uint64_t n_tasks_ = 0;
  std::array<std::uint64_t, call::n_parts> offsets_{};
  column_begins columns_{};
  task_bytes first_{};
};

/// Where the parts of tasks lie that were sent together: each part a fixed number of bytes behind
/// that of the task before. No memory is written between two tasks: the next task would wait for
/// it.
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

  /// Tasks one after the other, each in one piece, as flat_call writes it.
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
