// The owner of one object: the object is destroyed once and at the right time.
// SPDX-License-Identifier: MIT
#include <type_traits>
#include <utility>

#include <forkmap/detail/owner.hpp>

#include "support/catch.hpp"

using forkmap::detail::owner;

namespace {

struct owned_base {
  explicit owned_base(int& alive) : alive_(alive) { ++alive_; }
  owned_base(owned_base const&) = delete;
  owned_base& operator=(owned_base const&) = delete;
  virtual ~owned_base() { --alive_; }
  virtual int value() const { return 1; }

 private:
  int& alive_;
};
struct owned_derived final : owned_base {
  using owned_base::owned_base;
  int value() const override { return 2; }
};

}  // namespace

static_assert(!std::is_copy_constructible_v<owner<int>> && !std::is_copy_assignable_v<owner<int>>);
static_assert(std::is_nothrow_move_constructible_v<owner<int>> &&
              std::is_nothrow_move_assignable_v<owner<int>>);
static_assert(!std::is_convertible_v<int*, owner<int>>, "ownership must be explicit");

TEST_CASE("owner: a move transfers the object, which is destroyed once", "[system]") {
  int alive = 0;
  {
    owner<owned_base> first(new owned_base(alive));
    REQUIRE(first);
    REQUIRE(first->value() == 1);
    owner<owned_base> second = std::move(first);
    REQUIRE(first == nullptr);  // NOLINT(bugprone-use-after-move): guaranteed empty
    REQUIRE(second.get() == &*second);
    REQUIRE(alive == 1);

    owner<owned_base> base = owner<owned_derived>(new owned_derived(alive));
    REQUIRE(base->value() == 2);
    REQUIRE(alive == 2);
    second = std::move(base);
    REQUIRE(alive == 1);
    REQUIRE(second->value() == 2);

    auto& same = second;
    second = std::move(same);
    REQUIRE(second->value() == 2);

    owned_base* const released = second.release();
    REQUIRE(second == nullptr);
    REQUIRE(alive == 1);
    second.reset(released);
    second.reset();
    REQUIRE(alive == 0);

    owner<owned_base> const none = nullptr;
    REQUIRE(!none);
    second.reset(new owned_base(alive));
  }
  REQUIRE(alive == 0);
}

TEST_CASE("owner: reset stores the new object before it destroys the old one", "[system]") {
  struct link {
    owner<link> next;
    owner<link>* head = nullptr;
    bool* saw_new = nullptr;
    ~link() {
      if (saw_new != nullptr) *saw_new = head->get() != this;
    }
  };
  bool saw_new = false;
  owner<link> head;
  head.reset(new link);
  head->head = &head;
  head->saw_new = &saw_new;
  head.reset(new link);
  REQUIRE(saw_new);
}
