// A function of a library that is loaded after the pool was made, so that the workers do not have
// it.
// SPDX-License-Identifier: MIT
#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <ranges>
#include <thread>
#include <tuple>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

namespace {

int plus_two(int x) { return x + 2; }

}  // namespace

TEST_CASE("pool: calling a function of a later loaded library is reported with the library's name",
          "[pool]") {
  fm::pool const before(2);
  REQUIRE(before(fm::delayed(plus_two)(1)) == std::tuple(3));

  auto const close = [](void* library) { ::dlclose(library); };
  std::unique_ptr<void, decltype(close)> const library(::dlopen(FORKMAP_LOADED_LATER, RTLD_NOW),
                                                       close);
  REQUIRE(library != nullptr);
  auto* const later = reinterpret_cast<int (*)(int)>(::dlsym(library.get(), "loaded_later"));
  REQUIRE(later != nullptr);

  try {
    before(fm::delayed(plus_two)(1), fm::delayed(later)(1));
    FAIL("nothing was thrown");
  } catch (fm::worker_died const& e) {
    CHECK(e.index() == 1);
    CHECK(e.signal() == SIGSEGV);
    CHECK_THAT(e.what(), ContainsSubstring(FORKMAP_LOADED_LATER) &&
                             ContainsSubstring("loaded after the pool was made"));
  }
  // The message of another crash does not name the library.
  auto const outcomes = before.outcomes(std::views::iota(0, 2) | std::views::transform([](int i) {
                                          return fm::delayed([](int k) {
                                            if (k == 1) ::raise(SIGSEGV);
                                            return k;
                                          })(i);
                                        }));
  CHECK(*outcomes[0] == 0);
  CHECK_THAT(outcomes[1].error().message, !ContainsSubstring("loaded after"));

  fm::pool const after(2);
  CHECK(after(fm::delayed(later)(1)) == std::tuple(2));
}

TEST_CASE("pool: a crash is reported while another thread holds the loader's lock", "[pool]") {
  fm::pool const workers(2);
  std::atomic<bool> is_held = false;
  std::atomic<bool> may_go = false;
  struct state {
    std::atomic<bool>& is_held;
    std::atomic<bool>& may_go;
  } shared{is_held, may_go};
  // dl_iterate_phdr() holds the lock during the callback.
  std::thread holder([&] {
    ::dl_iterate_phdr(
        [](dl_phdr_info*, std::size_t, void* erased) {
          auto& held = *static_cast<state*>(erased);
          held.is_held = true;
          while (!held.may_go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
          return 1;
        },
        &shared);
  });
  while (!is_held) std::this_thread::yield();
  auto const outcomes = workers.outcomes(
      [](int i) {
        if (i == 1) ::kill(::getpid(), SIGKILL);
        if (i == 2) static_cast<void>(*static_cast<int volatile*>(nullptr));
        return i;
      },
      std::views::iota(0, 4));
  // The call has ended although the lock is held. The texts of backtraces may need it.
  may_go = true;
  holder.join();
  CHECK(*outcomes[0] == 0);
  CHECK_THAT(outcomes[1].error().message, ContainsSubstring("SIGKILL"));
  CHECK_THAT(outcomes[2].error().message, ContainsSubstring("SIGSEGV at address 0x0"));
  CHECK(*outcomes[3] == 3);
}
