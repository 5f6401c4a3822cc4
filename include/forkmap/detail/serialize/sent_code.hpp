// Error codes as they are sent: a number and the name of its category. The reading process looks the
// category up among its own.
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include <forkmap/detail/os/static_memory.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

/// std::error_code, std::error_condition and the like of other libraries: a number, and a reference
/// to its category.
template <class T>
concept error_code_like =
    std::is_class_v<T> && std::is_trivially_copyable_v<T> && requires(T const& code) {
      { code.value() } -> std::same_as<int>;
      { code.category().name() } -> std::same_as<char const*>;
      { code.category().message(0) } -> std::convertible_to<std::string>;
      requires std::is_lvalue_reference_v<decltype(code.category())>;
      requires std::is_polymorphic_v<std::remove_cvref_t<decltype(code.category())>>;
      T(0, code.category());
    };

/// An error code as it is sent.
struct sent_code {
  enum well_known : std::uint64_t { no, generic, system, iostream };

  int value = 0;
  well_known which = no;
  // Of other categories than the well-known ones:
  std::string category{};      // its name
  std::uintptr_t address = 0;  // of the category
  std::string message{};
  int condition = 0;  // the default error condition, if it is a std::errc; else 0
  bool is_of_this_process = true;

  void save(writer& out) const {
    out.put_count(static_cast<std::uint32_t>(value));
    out.put_count(which);
    if (which != no) return;
    save(out, category);
    out.put_count(address);
    save(out, message);
    out.put_count(static_cast<std::uint32_t>(condition));
  }
  static sent_code load(reader& in) {
    sent_code code;
    code.is_of_this_process = false;
    code.value = static_cast<int>(in.get_count());
    code.which = static_cast<well_known>(in.get_count());
    if (code.which != no) return code;
    code.category = text(in);
    code.address = static_cast<std::uintptr_t>(in.get_count());
    code.message = text(in);
    code.condition = static_cast<int>(in.get_count());
    return code;
  }

 private:
  static void save(writer& out, std::string const& text) {
    out.put_count(text.size());
    out.write(text.data(), text.size());
  }
  static std::string text(reader& in) {
    auto const size = static_cast<std::size_t>(in.get_count());
    return {reinterpret_cast<char const*>(in.take(size)), size};
  }
};

/// The parts of an error code.
template <error_code_like Code> sent_code take_apart(Code const& code) {
  auto const& category = code.category();
  auto const* const name = category.name();
  sent_code sent;
  sent.value = code.value();
  if constexpr (std::same_as<std::remove_cvref_t<decltype(category)>, std::error_category>) {
    // Does not call iostream_category(): a thread of the caller may have been initialising its
    // static object at the time of the fork.
    sent.which = &category == &std::generic_category()                   ? sent_code::generic
                 : &category == &std::system_category()                  ? sent_code::system
                 : name != nullptr && std::strcmp(name, "iostream") == 0 ? sent_code::iostream
                                                                         : sent_code::no;
    if (sent.which != sent_code::no) return sent;
    auto const condition = category.default_error_condition(sent.value);
    if (condition.category() == std::generic_category()) sent.condition = condition.value();
  }
  sent.category = name != nullptr ? name : "";
  sent.address = reinterpret_cast<std::uintptr_t>(&category);
  sent.message = category.message(sent.value);
  return sent;
}

// Boost's category has no virtual destructor; objects of these classes are never destroyed.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

/// The base of a stand-in category: Category, and for std::error_category the default condition.
template <class Category> class stand_in_base : public Category {
 protected:
  virtual int condition_of(int value) const noexcept = 0;
};
template <> class stand_in_base<std::error_category> : public std::error_category {
 public:
  std::error_condition default_error_condition(int value) const noexcept override {
    int const condition = condition_of(value);
    if (condition != 0) return {condition, std::generic_category()};
    return {value, *this};
  }

 protected:
  virtual int condition_of(int value) const noexcept = 0;
};

/// A stand-in for a category that this process does not have. It has the category's name, and the
/// messages that were sent with its numbers. It is never destroyed, because programs use categories
/// until they exit, and uses no lock, because workers may be forked at any time.
template <class Category> class stand_in_category final : public stand_in_base<Category> {
 public:
  explicit stand_in_category(std::string name) : name_(std::move(name)) {}

  char const* name() const noexcept override { return name_.c_str(); }

  using Category::message;
  std::string message(int value) const override {
    auto const* const known = find(value);
    if (known != nullptr && !known->message.empty()) return known->message;
    return "error " + std::to_string(value) + " of the category " + name_ +
           ", which this process does not have";
  }

  /// The stand-in with the code's category name, with the code's number and message added. Keeps
  /// the first 64 names that workers send, and the first 1024 numbers of each.
  static stand_in_category const& of(sent_code const& code) {
    auto const& category = named(code.category);
    category.note(code);
    return category;
  }

 protected:
  int condition_of(int value) const noexcept override {
    auto const* const known = find(value);
    return known != nullptr ? known->condition : 0;
  }

 private:
  struct number {
    int value;
    std::string message;
    int condition;
    number* next = nullptr;
  };

  static stand_in_category const& named(std::string const& name) {
    constexpr int most_names = 64;
    for (owner<stand_in_category> made;;) {
      auto* const first = all_.load(std::memory_order_acquire);
      int n = 0;
      for (auto const* category = first; category != nullptr; category = category->next_, ++n) {
        if (category->name_ == name) return *category;
      }
      if (n >= most_names && name != unknown) return named(unknown);
      if (!made) made.reset(new stand_in_category(name));
      made->next_ = first;
      auto* expected = first;
      if (all_.compare_exchange_strong(expected, made.get(), std::memory_order_acq_rel)) {
        return *made.release();
      }
    }
  }

  number const* find(int value) const noexcept {
    auto const* known = numbers_.load(std::memory_order_acquire);
    while (known != nullptr && known->value != value) known = known->next;
    return known;
  }
  void note(sent_code const& code) const {
    constexpr int most_numbers = 1024;
    if (find(code.value) != nullptr || n_numbers_.fetch_add(1) >= most_numbers) return;
    auto* const made = new number{code.value, code.message, code.condition};
    made->next = numbers_.load(std::memory_order_relaxed);
    while (!numbers_.compare_exchange_weak(made->next, made, std::memory_order_acq_rel)) {
    }
  }

  static constexpr char const* unknown = "unknown";
  static inline constinit std::atomic<stand_in_category*> all_{nullptr};

  std::string name_;
  stand_in_category* next_ = nullptr;
  mutable std::atomic<number*> numbers_{nullptr};
  mutable std::atomic<int> n_numbers_{0};
};

#pragma GCC diagnostic pop

/// This process's own object for the code's category: a well-known one, or the object at the same
/// address if that is a category of the same name in static memory. Workers are copies of the
/// caller, so that addresses agree. Otherwise (only the worker has made the category, or it is on
/// the heap) a stand-in.
template <class Category> Category const& category_of(sent_code const& code) {
  if constexpr (std::same_as<Category, std::error_category>) {
    if (code.which == sent_code::generic) return std::generic_category();
    if (code.which == sent_code::system) return std::system_category();
    if (code.which == sent_code::iostream) return std::iostream_category();
  }
  auto const* const there = reinterpret_cast<Category const*>(code.address);
  if (code.is_of_this_process) return *there;
  if (is_static_object(code.address, typeid(Category))) {
    auto const* const name = there->name();
    if ((name != nullptr ? name : "") == code.category) return *there;
  }
  return stand_in_category<Category>::of(code);
}

}  // namespace forkmap::detail
