// Rethrows std::regex_error and std::future_error in a file that includes nothing before forkmap.
// With an argument, the program checks that they arrive as their base classes instead.
// clang-format off: sorting would put <future> and <regex> first
// SPDX-License-Identifier: MIT
#include <forkmap/forkmap.hpp>

#include <cstdio>
#include <future>
#include <regex>
#include <stdexcept>
// clang-format on

namespace fm = forkmap;

static bool as_themselves = true;

/// Whether the call throws a remote<Error> with that code, or a remote<Base> if Error cannot
/// arrive.
template <class Error, class Base, class Call, class Code> bool arrives(Call call, Code code) {
  try {
    call();
  } catch (fm::remote<Error> const& e) {
    return as_themselves && e.code() == code;
  } catch (fm::remote<Base> const&) {
    return !as_themselves;
  }
  return false;
}

static int throw_it(bool regex) {
  if (regex) throw std::regex_error(std::regex_constants::error_brack);
  throw std::future_error(std::future_errc::no_state);
}

int main(int argc, char**) {
  as_themselves = argc == 1;
  fm::pool workers(2);
  auto const regex = fm::delayed(throw_it)(true);
  auto const future = fm::delayed(throw_it)(false);
  auto const calls_arrive = [&](auto const& call) {
    return arrives<std::regex_error, std::runtime_error>([&] { call(regex); },
                                                         std::regex_constants::error_brack) &&
           arrives<std::future_error, std::logic_error>(
               [&] { call(future); }, make_error_code(std::future_errc::no_state));
  };
  if (!calls_arrive([](auto const& task) { fm::parallel(1)(task); })) return 1;
  if (!calls_arrive([](auto const& task) { fm::parallel(2)(task, task); })) return 2;
  if (!calls_arrive([&](auto const& task) { workers(task); })) return 3;
  std::puts("consumer: the exceptions of <regex> and <future> arrive as they should");
}
