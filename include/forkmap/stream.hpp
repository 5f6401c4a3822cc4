// Results one by one, while later tasks still run or have not been made.
#pragma once

#include <cstddef>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include <forkmap/indexed.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap {
namespace detail {

/// Where a stream's elements come from. Destroying it ends what still runs.
template <class Element> class stream_source {
 public:
  stream_source() = default;
  stream_source(stream_source const&) = delete;
  stream_source& operator=(stream_source const&) = delete;
  virtual ~stream_source() = default;

  /// Waits for the next element.
  /// Returns: false if there are no more.
  /// Errors: what its task has failed of; nothing comes after that.
  virtual bool next(std::optional<Element>& into) = 0;
};

template <class R, bool Ordered>
using stream_element =
    std::conditional_t<Ordered, std::conditional_t<std::is_void_v<R>, std::monostate, R>,
                       indexed<R>>;

}  // namespace detail

/// What stream and unordered return: an input range, to be iterated once. Tasks are dispatched as
/// results are consumed: so many are dispatched and not yet consumed as options::pre_dispatch says,
/// and no more of a pool's range is read.
/// Destroying it, or coming to its end, ends what still runs.
///
/// Shape: of R (std::monostate for void) in input order, or of indexed<R> in the order of their
///   ends.
/// Errors: from begin() and ++, what a task has failed of: in order, after the results of all tasks
///   before it; otherwise as it happens. What a pool's range of tasks throws while it makes one,
///   after the results of all tasks before it. The range is at its end then.
///   std::logic_error in a forked child of the program, which may destroy its copy.
template <class R, bool Ordered> class task_stream {
 public:
  using value_type = detail::stream_element<R, Ordered>;

  class iterator {
   public:
    using value_type = task_stream::value_type;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    iterator() = default;
    explicit iterator(task_stream* of) noexcept : stream_(of) {}
    value_type& operator*() const noexcept { return *stream_->current_; }
    value_type* operator->() const noexcept { return &*stream_->current_; }
    iterator& operator++() {
      stream_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(iterator const& it, std::default_sentinel_t) noexcept {
      return it.is_at_end();
    }

   private:
    bool is_at_end() const noexcept { return !stream_->current_.has_value(); }

    task_stream* stream_ = nullptr;
  };

  // Takes it over.
  explicit task_stream(detail::stream_source<value_type>* from) noexcept : source_(from) {}

  /// Once. Waits for the first result.
  iterator begin() {
    advance();
    return iterator(this);
  }
  std::default_sentinel_t end() const noexcept { return std::default_sentinel; }

 private:
  void advance() {
    current_.reset();
    if (source_ == nullptr) return;
    auto from = std::move(source_);  // gone, if this throws or comes to the end
    if (from->next(current_)) source_ = std::move(from);
  }

  detail::owner<detail::stream_source<value_type>> source_;
  std::optional<value_type> current_{};
};

}  // namespace forkmap
