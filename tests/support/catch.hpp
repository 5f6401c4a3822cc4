// Catch2, version 2 (Debian 12) or 3, under one set of names: version 3's.
// SPDX-License-Identifier: MIT
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#define FORKMAP_CATCH_VERSION 3
#else
#include <catch2/catch.hpp>
#define FORKMAP_CATCH_VERSION 2

namespace Catch {
using Detail::Approx;
namespace Matchers {
inline auto ContainsSubstring(std::string const& part,
                              CaseSensitive::Choice sensitivity = CaseSensitive::Yes) {
  return Contains(part, sensitivity);
}
}  // namespace Matchers
}  // namespace Catch
#endif
