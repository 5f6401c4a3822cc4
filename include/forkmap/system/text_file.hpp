// Small text files, as those in /proc.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <string>

#include <forkmap/system/call.hpp>
#include <forkmap/system/descriptor.hpp>

namespace forkmap::detail {

/// A small text file's content; empty if it cannot be read.
inline std::string read_text_file(std::string const& path) {
  descriptor const file(
      retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  std::string text;
  if (!file) return text;
  char buffer[1024];  // a large one would be another page fault after a fork
  for (;;) {
    auto const n = retry_interrupted([&] { return ::read(file.get(), buffer, sizeof buffer); });
    if (n <= 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

/// The same of what fits, with a 0 behind it.
template <std::size_t N> void read_text_file(char const* path, char (&text)[N]) noexcept {
  descriptor const file(retry_interrupted([&] { return ::open(path, O_RDONLY | O_CLOEXEC); }));
  ssize_t n = 0;
  if (file) n = retry_interrupted([&] { return ::read(file.get(), text, N - 1); });
  text[n > 0 ? n : 0] = '\0';
}

}  // namespace forkmap::detail
