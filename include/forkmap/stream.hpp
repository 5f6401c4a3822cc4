// Streams of results: each result is delivered while later tasks still run or do not exist yet.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <cstddef>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include <forkmap/detail/owner.hpp>

namespace forkmap {

/// The index of a task in its range, and its result: the return type of first() and the element of
/// unordered(). std::monostate stands for void.
template <class R> struct indexed {
  using value_type = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

  std::size_t index;
  value_type value;
};

namespace detail {

/// The source of a stream's elements. Its destructor ends the tasks that still run.
template <class Element> class stream_source {
 public:
  stream_source() = default;
  stream_source(stream_source const&) = delete;
  stream_source& operator=(stream_source const&) = delete;
  virtual ~stream_source() = default;

  /// Waits for the next element.
  /// Returns: false if there are no more.
  /// Errors: the failure of the element's task. Then there are no more elements.
  virtual bool next(std::optional<Element>& into) = 0;
};

template <class R, bool Ordered>
using stream_element =
    std::conditional_t<Ordered, std::conditional_t<std::is_void_v<R>, std::monostate, R>,
                       indexed<R>>;

}  // namespace detail

/// An input range of results: the return type of stream() and unordered(). It can be iterated once.
///
/// Tasks are dispatched as results are consumed. At most options::pre_dispatch tasks are dispatched
/// and not yet consumed, and no more of the tasks' range is read. At its end, or when it is
/// destroyed, the stream ends the tasks that still run.
/// Shape: stream(): elements R (std::monostate for void) in input order. unordered(): elements
///   indexed<R> in the order in which the tasks end.
/// Errors: begin() and ++ throw, and the stream is then at its end. A task's failure: from stream()
///   after the results of all tasks before it, from unordered() as soon as it happens. An exception
///   of the tasks' range: after the results of all tasks before. std::logic_error in a forked child
///   of the program; the child may destroy its copy.
/// Example: `for (double root : workers.stream(tasks)) std::printf("%g\n", root);`
template <class R, bool Ordered> class task_stream {
 public:
  using value_type = detail::stream_element<R, Ordered>;

  class iterator {
   public:
    using value_type = task_stream::value_type;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    iterator() = default;
    explicit iterator(task_stream* stream) noexcept : stream_(stream) {}
    value_type& operator*() const noexcept { return *stream_->current_; }
    value_type* operator->() const noexcept { return &*stream_->current_; }
    iterator& operator++() {
      stream_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(iterator const& position, std::default_sentinel_t) noexcept {
      return position.is_at_end();
    }

   private:
    bool is_at_end() const noexcept { return !stream_->current_.has_value(); }

    task_stream* stream_ = nullptr;
  };

  // Takes ownership of the source.
  explicit task_stream(detail::stream_source<value_type>* source) noexcept : source_(source) {}

  /// Waits for the first result. Call it once.
  iterator begin() {
    advance();
    return iterator(this);
  }
  std::default_sentinel_t end() const noexcept { return std::default_sentinel; }

 private:
  void advance() {
    current_.reset();
    if (source_ == nullptr) return;
    auto source = std::move(source_);  // destroyed if next() throws or there are no more elements
    if (source->next(current_)) source_ = std::move(source);
  }

  detail::owner<detail::stream_source<value_type>> source_;
  std::optional<value_type> current_{};
};

}  // namespace forkmap
