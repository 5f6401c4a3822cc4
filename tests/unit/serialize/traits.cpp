// Which types can be serialized, and how: decided at compile time.
// SPDX-License-Identifier: MIT
#include <array>
#include <bitset>
#include <complex>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <functional>
#include <initializer_list>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include <forkmap/serializer.hpp>

#include "support/catch.hpp"

using namespace forkmap::detail;

namespace {

struct pod {
  int a;
  double b;
};
struct with_pointer {
  int a;
  char* p;
};
struct deep {
  pod q;
  with_pointer z;
};
struct with_array {
  double x[3];
  int k;
};
struct with_pointer_array {
  char* x[3];
};
struct with_long_array {
  char name[256];
  int k;
};
struct with_bits {
  unsigned a : 3;
  unsigned b : 5;
};
struct with_span {
  std::span<int> s;
  int k;
};
struct empty {};
struct members {
  std::string s;
  std::vector<double> v;
  pod p;
  std::unique_ptr<int> u;
};
struct array_behind {
  std::string s;
  double x[3];
};
struct array_before {
  double x[2];
  std::string s;
};
struct derived : pod {
  std::string s;
};
struct pointer_beside {
  std::string s;
  int* p;
};
struct no_default {
  explicit no_default(int);
  int x;
};
struct holds_no_default {
  no_default n;
  std::string s;
};
struct nested_members {
  members m;
  std::map<std::string, members> by_name;
};
class opaque {
 public:
  opaque(opaque const&);
};
class closed {
  [[maybe_unused]] int x_ = 0;
};
struct base {
  virtual ~base() = default;
};

template <class T> inline constexpr encoding of = serialization_of<T>;

static_assert(of<int> == encoding::as_bytes);
static_assert(of<pod> == encoding::as_bytes);
static_assert(of<empty> == encoding::as_bytes);
static_assert(of<closed> == encoding::as_bytes);
static_assert(of<with_array> == encoding::as_bytes);
static_assert(of<with_long_array> == encoding::as_bytes);
static_assert(of<with_bits> == encoding::as_bytes);
static_assert(of<std::monostate> == encoding::as_bytes);
static_assert(of<std::complex<double>> == encoding::as_bytes);
static_assert(of<std::bitset<100>> == encoding::as_bytes);
static_assert(of<std::array<pod, 3>> == encoding::as_bytes);

static_assert(of<int*> == encoding::points_into_worker);
static_assert(of<char const*> == encoding::points_into_worker);
static_assert(of<with_pointer> == encoding::points_into_worker);
static_assert(of<deep> == encoding::points_into_worker);
static_assert(of<with_pointer_array> == encoding::points_into_worker);
static_assert(of<with_span> == encoding::points_into_worker);
static_assert(of<pointer_beside> == encoding::points_into_worker);
static_assert(of<std::string_view> == encoding::points_into_worker);
static_assert(of<std::span<double const>> == encoding::points_into_worker);
static_assert(of<std::reference_wrapper<int>> == encoding::points_into_worker);
static_assert(of<std::vector<int>::iterator> == encoding::points_into_worker);
static_assert(of<std::vector<int*>> == encoding::points_into_worker);
static_assert(of<std::optional<int*>> == encoding::points_into_worker);
static_assert(of<std::pair<int, std::string_view>> == encoding::points_into_worker);
static_assert(of<std::tuple<int&>> == encoding::points_into_worker);
static_assert(of<std::variant<int, char*>> == encoding::points_into_worker);
static_assert(of<std::array<char const*, 3>> == encoding::points_into_worker);
static_assert(of<std::unique_ptr<int*>> == encoding::points_into_worker);
static_assert(of<std::map<std::string, int*>> == encoding::points_into_worker);

static_assert(of<members> == encoding::as_aggregate);
static_assert(of<nested_members> == encoding::as_aggregate);
static_assert(of<holds_no_default> == encoding::as_aggregate);
static_assert(of<array_behind> == encoding::has_base_or_array_member);
static_assert(of<array_before> == encoding::has_base_or_array_member);
static_assert(of<derived> == encoding::has_base_or_array_member);
static_assert(of<std::vector<derived>> == encoding::has_base_or_array_member);

static_assert(of<std::string> == encoding::as_container);
static_assert(of<std::vector<bool>> == encoding::as_container);
static_assert(of<std::forward_list<int>> == encoding::as_container);
static_assert(of<std::deque<std::string>> == encoding::as_container);
static_assert(of<std::map<std::string, std::vector<int>>> == encoding::as_container);
static_assert(of<std::filesystem::path> == encoding::as_path);
static_assert(of<std::tuple<int, std::unique_ptr<std::string>>> == encoding::as_tuple);
static_assert(of<std::array<std::string, 3>> == encoding::as_tuple);
static_assert(of<std::optional<std::string>> == encoding::as_optional);
static_assert(of<std::optional<int>> == encoding::as_bytes);
static_assert(of<std::variant<int, double>> == encoding::as_bytes);
static_assert(of<std::variant<int, std::string>> == encoding::as_variant);
static_assert(of<std::unique_ptr<int>> == encoding::as_unique_ptr);

static_assert(of<opaque> == encoding::unknown);
static_assert(of<std::shared_ptr<int>> == encoding::unknown);
static_assert(of<std::unique_ptr<base>> == encoding::unknown);
static_assert(of<std::function<int()>> == encoding::unknown);

struct tree {
  int value;
  std::vector<tree> kids;
};
struct link {
  int value;
  std::unique_ptr<link> next;
};
static_assert(of<tree> == encoding::as_aggregate);
static_assert(of<link> == encoding::as_aggregate);

static_assert(of<std::initializer_list<int>> == encoding::points_into_worker);
static_assert(of<std::list<int>::iterator> == encoding::points_into_worker);
static_assert(of<std::ranges::ref_view<std::vector<int>>> == encoding::points_into_worker);
static_assert(of<std::set<int, bool (*)(int, int)>> == encoding::unknown);
static_assert(of<std::set<int, std::greater<>>> == encoding::as_container);

struct alignas(8192) over_aligned {
  int value;
};
static_assert(!inline_result_type<over_aligned> && transferable<over_aligned>);

static_assert(transferable<void>);
static_assert(!transferable<int*>);
static_assert(inline_result_type<pod>);
static_assert(!inline_result_type<std::string>);

}  // namespace

TEST_CASE("serialize: the encoding of a type is known at compile time", "[serialize]") {
  SUCCEED();
}
