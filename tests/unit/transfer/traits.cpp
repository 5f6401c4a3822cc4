// Which types travel, and how: all of it decided at compile time.
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

template <class T> inline constexpr travel of = travels_v<T>;

static_assert(of<int> == travel::as_bytes);
static_assert(of<pod> == travel::as_bytes);
static_assert(of<empty> == travel::as_bytes);
static_assert(of<closed> == travel::as_bytes);
static_assert(of<with_array> == travel::as_bytes);
static_assert(of<with_long_array> == travel::as_bytes);
static_assert(of<with_bits> == travel::as_bytes);
static_assert(of<std::monostate> == travel::as_bytes);
static_assert(of<std::complex<double>> == travel::as_bytes);
static_assert(of<std::bitset<100>> == travel::as_bytes);
static_assert(of<std::array<pod, 3>> == travel::as_bytes);

static_assert(of<int*> == travel::points_into_worker);
static_assert(of<char const*> == travel::points_into_worker);
static_assert(of<with_pointer> == travel::points_into_worker);
static_assert(of<deep> == travel::points_into_worker);
static_assert(of<with_pointer_array> == travel::points_into_worker);
static_assert(of<with_span> == travel::points_into_worker);
static_assert(of<pointer_beside> == travel::points_into_worker);
static_assert(of<std::string_view> == travel::points_into_worker);
static_assert(of<std::span<double const>> == travel::points_into_worker);
static_assert(of<std::reference_wrapper<int>> == travel::points_into_worker);
static_assert(of<std::vector<int>::iterator> == travel::points_into_worker);
static_assert(of<std::vector<int*>> == travel::points_into_worker);
static_assert(of<std::optional<int*>> == travel::points_into_worker);
static_assert(of<std::pair<int, std::string_view>> == travel::points_into_worker);
static_assert(of<std::tuple<int&>> == travel::points_into_worker);
static_assert(of<std::variant<int, char*>> == travel::points_into_worker);
static_assert(of<std::array<char const*, 3>> == travel::points_into_worker);
static_assert(of<std::unique_ptr<int*>> == travel::points_into_worker);
static_assert(of<std::map<std::string, int*>> == travel::points_into_worker);

static_assert(of<members> == travel::as_aggregate);
static_assert(of<nested_members> == travel::as_aggregate);
static_assert(of<holds_no_default> == travel::as_aggregate);
static_assert(of<array_behind> == travel::has_base_or_array_member);
static_assert(of<array_before> == travel::has_base_or_array_member);
static_assert(of<derived> == travel::has_base_or_array_member);
static_assert(of<std::vector<derived>> == travel::has_base_or_array_member);

static_assert(of<std::string> == travel::as_container);
static_assert(of<std::vector<bool>> == travel::as_container);
static_assert(of<std::forward_list<int>> == travel::as_container);
static_assert(of<std::deque<std::string>> == travel::as_container);
static_assert(of<std::map<std::string, std::vector<int>>> == travel::as_container);
static_assert(of<std::filesystem::path> == travel::as_path);
static_assert(of<std::tuple<int, std::unique_ptr<std::string>>> == travel::as_tuple);
static_assert(of<std::array<std::string, 3>> == travel::as_tuple);
static_assert(of<std::optional<std::string>> == travel::as_optional);
static_assert(of<std::variant<int, std::string>> == travel::as_variant);
static_assert(of<std::unique_ptr<int>> == travel::as_unique_ptr);

static_assert(of<opaque> == travel::unknown);
static_assert(of<std::shared_ptr<int>> == travel::unknown);
static_assert(of<std::unique_ptr<base>> == travel::unknown);
static_assert(of<std::function<int()>> == travel::unknown);

struct tree {
  int value;
  std::vector<tree> kids;
};
struct link {
  int value;
  std::unique_ptr<link> next;
};
static_assert(of<tree> == travel::as_aggregate);
static_assert(of<link> == travel::as_aggregate);

static_assert(of<std::initializer_list<int>> == travel::points_into_worker);
static_assert(of<std::list<int>::iterator> == travel::points_into_worker);
static_assert(of<std::ranges::ref_view<std::vector<int>>> == travel::points_into_worker);
static_assert(of<std::set<int, bool (*)(int, int)>> == travel::unknown);
static_assert(of<std::set<int, std::greater<>>> == travel::as_container);

struct alignas(8192) over_aligned {
  int value;
};
static_assert(!flat_result<over_aligned> && transferable<over_aligned>);

static_assert(transferable<void>);
static_assert(!transferable<int*>);
static_assert(flat_result<pod>);
static_assert(!flat_result<std::string>);

}  // namespace

TEST_CASE("transfer: how a type travels is known at compile time", "[transfer]") { SUCCEED(); }
