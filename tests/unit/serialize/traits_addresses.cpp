// Types that hold addresses: which the receiver looks up by name, which are refused, and which
// only look as if they held an address.
// SPDX-License-Identifier: MIT
#include <array>
#include <bitset>
#include <coroutine>
#include <cstddef>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <typeindex>
#include <utility>
#include <variant>
#include <vector>

#include <boost/core/span.hpp>
#include <boost/range/iterator_range.hpp>
#include <boost/system/error_code.hpp>
#include <boost/utility/string_view.hpp>

#include <forkmap/fixed_string.hpp>
#include <forkmap/half.hpp>
#include <forkmap/serializer.hpp>

#include "support/catch.hpp"

using namespace forkmap::detail;

namespace {

template <class T> inline constexpr encoding way_of = serialization_of<T>;

// Types that are looked up by name.

struct answer_with_code {
  int value;
  std::error_code code;
};
struct answer_around {
  answer_with_code inner;
  double more;
};
struct answer_with_codes {
  std::array<std::error_code, 2> codes;
};
struct answer_with_c_array {
  std::error_code codes[2];
};
struct answer_with_base : answer_with_code {
  int more;
};
struct answer_with_function {
  int value;
  double (*function)(double);
};
class handle_of_worker {
 public:
  explicit handle_of_worker(int number) : number_(number) {}
  int number() const { return number_; }

 private:
  int number_;
};
struct two_handles {
  handle_of_worker a, b;
};
}  // namespace

template <> struct forkmap::serializer<handle_of_worker> {
  static void save(writer& out, handle_of_worker const& it) { out.put(it.number()); }
  static handle_of_worker load(reader& in) { return handle_of_worker(in.get<int>()); }
};

namespace {

static_assert(way_of<std::error_code> == encoding::by_address);
static_assert(way_of<std::error_condition> == encoding::by_address);
static_assert(way_of<boost::system::error_code> == encoding::by_address);
static_assert(way_of<std::type_index> == encoding::by_address);
static_assert(way_of<std::source_location> == encoding::by_address);
static_assert(way_of<void (*)()> == encoding::by_address);
static_assert(way_of<void (answer_with_code::*)()> == encoding::by_address);
static_assert(way_of<int answer_with_code::*> == encoding::as_bytes);
static_assert(way_of<std::optional<std::error_code>> == encoding::as_optional);
static_assert(way_of<std::variant<int, std::error_code>> == encoding::as_variant);
static_assert(way_of<std::array<std::error_code, 3>> == encoding::as_tuple);
static_assert(way_of<std::tuple<int, std::error_code>> == encoding::as_tuple);
static_assert(way_of<std::vector<std::error_code>> == encoding::as_container);
static_assert(way_of<answer_with_code> == encoding::as_aggregate);
static_assert(way_of<answer_around> == encoding::as_aggregate);
static_assert(way_of<answer_with_codes> == encoding::as_aggregate);
static_assert(way_of<answer_with_function> == encoding::as_aggregate);
static_assert(way_of<answer_with_c_array> == encoding::has_base_or_array_member);
static_assert(way_of<answer_with_base> == encoding::has_base_or_array_member);
static_assert(way_of<two_handles> == encoding::as_aggregate);
static_assert(!inline_result_type<std::error_code> &&
              !inline_result_type<std::optional<std::error_code>> &&
              !inline_result_type<std::variant<int, std::error_code>> &&
              !inline_result_type<answer_around> &&
              !inline_result_type<std::array<std::error_code, 3>> &&
              !inline_result_type<two_handles>);
static_assert(inline_result_type<std::optional<int>> &&
              inline_result_type<std::variant<int, double>>);

// Views of any library.

class own_view {
 public:
  explicit own_view(std::string const& text) : data_(text.data()), size_(text.size()) {}
  operator std::string_view() const { return {data_, size_}; }  // NOLINT
 private:
  char const* data_;
  std::size_t size_;
};
class own_span {
 public:
  own_span(double* begin, double* end);
  operator std::span<double>() const { return {begin_, end_}; }  // NOLINT
 private:
  double *begin_, *end_;
};
class own_range {
 public:
  own_range(double const* begin, double const* end);
  double const* begin() const { return begin_; }
  double const* end() const { return end_; }

 private:
  double const *begin_, *end_;
};
class own_pointer {
 public:
  explicit own_pointer(int* to);
  int& operator*() const { return *to_; }
  int* operator->() const { return to_; }

 private:
  int* to_;
};
struct around_view {
  int number;
  boost::string_view text;
};

static_assert(way_of<boost::string_view> == encoding::points_into_worker);
static_assert(way_of<boost::span<int>> == encoding::points_into_worker);
static_assert(way_of<boost::span<int const>> == encoding::points_into_worker);
static_assert(way_of<boost::span<double, 3>> == encoding::points_into_worker);
static_assert(way_of<boost::iterator_range<int*>> == encoding::points_into_worker);
static_assert(way_of<own_view> == encoding::points_into_worker);
static_assert(way_of<own_span> == encoding::points_into_worker);
static_assert(way_of<own_range> == encoding::points_into_worker);
static_assert(way_of<own_pointer> == encoding::points_into_worker);
static_assert(way_of<around_view> == encoding::points_into_worker);
static_assert(way_of<std::vector<boost::string_view>> == encoding::points_into_worker);
static_assert(way_of<std::map<std::string, own_view>> == encoding::points_into_worker);
static_assert(way_of<std::pair<int, boost::span<int>>> == encoding::points_into_worker);
static_assert(way_of<std::optional<own_span>> == encoding::points_into_worker);
static_assert(way_of<std::coroutine_handle<>> == encoding::points_into_worker);
static_assert(way_of<std::thread::id> == encoding::points_into_worker);

// Types that hold their elements.

class vector3 {
 public:
  vector3(double x, double y, double z);
  double* begin() { return x_; }
  double* end() { return x_ + 3; }
  double const* begin() const { return x_; }
  double const* end() const { return x_ + 3; }

 private:
  double x_[3];
};
class constant_vector3 {
 public:
  constant_vector3(double x, double y, double z);
  double const* begin() const { return &x_; }
  double const* end() const { return &z_ + 1; }

 private:
  double x_, y_, z_;
};
class vector4i {
 public:
  vector4i();
  int const* data() const { return x_; }
  int const* begin() const { return x_; }
  int const* end() const { return x_ + 4; }
  std::size_t size() const { return 4; }

 private:
  int x_[4];
};
class short_name {
 public:
  constexpr explicit short_name(std::string_view text) {
    for (std::size_t i = 0; i != text.size() && i != sizeof text_; ++i) text_[i] = text[i];
  }
  operator std::string_view() const { return {text_, std::strlen(text_)}; }  // NOLINT
 private:
  char text_[16]{};
};
class long_name {
 public:
  explicit long_name(std::string const& text);
  operator std::string_view() const { return text_; }  // NOLINT
 private:
  char text_[80];
};
class small_vector {
 public:
  small_vector();
  int* begin() { return values_; }
  int* end() { return values_ + n_; }
  int const* begin() const { return values_; }
  int const* end() const { return values_ + n_; }

 private:
  std::size_t n_ = 0;
  int values_[4];
};

static_assert(way_of<vector3> == encoding::as_bytes && inline_result_type<vector3>);
static_assert(way_of<constant_vector3> == encoding::as_bytes);
static_assert(way_of<vector4i> == encoding::as_bytes);
static_assert(way_of<short_name> == encoding::as_bytes);
static_assert(way_of<long_name> == encoding::as_bytes);
static_assert(way_of<small_vector> == encoding::as_bytes);
static_assert(way_of<forkmap::fixed_string<8>> == encoding::as_bytes);
static_assert(way_of<forkmap::fixed_string<16>> == encoding::as_bytes);
static_assert(way_of<forkmap::half> == encoding::as_bytes);
static_assert(way_of<std::bitset<64>> == encoding::as_bytes);
static_assert(way_of<std::array<vector3, 4>> == encoding::as_bytes);
static_assert(way_of<std::vector<vector3>> == encoding::as_container);

}  // namespace

TEST_CASE("serialize: views of any library are detected by their interface", "[serialize]") {
  SUCCEED();
}
