// What a file is refused with.
#pragma once

#include <string>

#include <forkmap/array_error.hpp>

namespace support {

/// The error's text, empty if there was none. Any other exception than the two fails the test.
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
