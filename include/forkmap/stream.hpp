// Streams of results: each result is delivered while later tasks still run or do not exist yet.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <cstddef>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <variant>

#include <forkmap/detail/owner.hpp>
#include <forkmap/options.hpp>
#include <forkmap/outcome.hpp>

namespace forkmap {

/// The index of a task in its range, and its result: the return type of first() and the element of
/// unordered(). std::monostate stands for void.
template <class R> struct indexed {
  using value_type = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

  std::size_t index;
  value_type value;
};

namespace detail {

/// The result of asking a stream for its next element.
enum class next_element { is_there, is_late, is_none };

/// The source of a stream's elements. Its destructor ends the tasks that still run.
template <class Element> class stream_source {
 public:
  stream_source() = default;
  stream_source(stream_source const&) = delete;
  stream_source& operator=(stream_source const&) = delete;
  virtual ~stream_source() = default;

  /// Waits for the next element, but not longer than `limit`.
  /// Errors: the failure of the element's task. Then there are no more elements.
  virtual next_element next(std::optional<Element>& into, time_limit limit) = 0;
  /// Ends the tasks that still run. There are no more elements.
  virtual void close() noexcept = 0;
  /// See task_stream::descriptor().
  virtual int descriptor() = 0;
};

/// The order of a stream's elements, and what becomes of failures: the element is an outcome<R>, or
/// the stream throws.
struct stream_kind {
  bool ordered;
  bool outcomes;
};

template <class R, bool Ordered>
using stream_element =
    std::conditional_t<Ordered, std::conditional_t<std::is_void_v<R>, std::monostate, R>,
                       indexed<R>>;

/// The R of the task_stream of tasks that return R.
template <class R, stream_kind Kind>
using streamed_result = std::conditional_t<Kind.outcomes, outcome<R>, R>;

/// Its element.
template <class R, stream_kind Kind>
using element_of_kind = stream_element<streamed_result<R, Kind>, Kind.ordered>;

}  // namespace detail

/// An input range of results: the return type of stream(), unordered(), stream_outcomes() and
/// unordered_outcomes(). It can be iterated once.
///
/// Tasks are dispatched as results are consumed. At most options::pre_dispatch tasks are dispatched
/// and not yet consumed, and no more of the tasks' range is read. At its end, or when it is
/// destroyed, the stream ends the tasks that still run.
/// Shape: stream(): elements R (std::monostate for void) in input order. unordered(): elements
///   indexed<R> in the order in which the tasks end. stream_outcomes(): elements outcome<R> in input
///   order. unordered_outcomes(): elements indexed<outcome<R>> in the order in which the tasks end.
/// Errors: begin() and ++ throw, and the stream is then at its end. A task's failure, unless it is an
///   element: from stream() after the results of all tasks before it, from unordered() as soon as it
///   happens. An exception of the tasks' range: after the results of all tasks before. An exception
///   of worker_init. std::logic_error in a forked child of the program; the child may destroy its
///   copy.
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

  /// Waits for the next element, but no longer than `limit`, any std::chrono duration. The element
  /// is taken from the stream: iterators continue behind it.
  ///
  /// With n_jobs = 1 the task runs in this call, however long that takes.
  /// Returns: nothing if no element has come in that time, or if the stream is at its end.
  /// Errors: as for begin().
  /// Example: `while (!results.at_end()) if (auto x = results.next_for(50ms)) use(*x);`
  std::optional<value_type> next_for(time_limit limit) {
    std::optional<value_type> element;
    take(element, limit);
    return element;
  }

  /// Whether the stream has ended: it was asked for an element and had no more, it has thrown, or it
  /// was moved from.
  bool at_end() const noexcept { return at_end_ || source_ == nullptr; }

  /// A file descriptor for poll(), epoll and event loops: readable while next_for(0s) would not have
  /// to wait, because the next element is there or the stream is at its end. It belongs to the
  /// stream and must only be polled. From the first call of this function on, the stream dispatches
  /// tasks ahead without being asked for an element.
  /// Errors: std::system_error naming eventfd, or if workers cannot be forked. std::logic_error if the
  ///   stream was moved from.
  int descriptor() {
    if (source_ != nullptr) return source_->descriptor();
    throw std::logic_error(
        "forkmap: this stream was moved from; use the stream that it was moved to");
  }

 private:
  void advance() {
    current_.reset();
    take(current_, {});
  }
  void take(std::optional<value_type>& element, time_limit limit) {
    if (at_end()) return;
    at_end_ = true;  // if next() throws
    auto next = detail::next_element::is_none;
    try {
      next = source_->next(element, limit);
    } catch (...) {
      source_->close();
      throw;
    }
    at_end_ = next == detail::next_element::is_none;
    if (at_end_) source_->close();
  }

  detail::owner<detail::stream_source<value_type>> source_;
  std::optional<value_type> current_{};
  bool at_end_ = false;
};

}  // namespace forkmap
