// The error text with which a file is refused.
// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <forkmap/error.hpp>

namespace support {

/// Returns: the text of the format_error or dtype_error that `body` throws; empty if it throws
/// nothing. Any other exception fails the test.
template <class Body> std::string refusal(Body body) {
  try {
    body();
  } catch (forkmap::format_error const& error) {
    return error.what();
  } catch (forkmap::dtype_error const& error) {
    return error.what();
  }
  return {};
}

}  // namespace support
