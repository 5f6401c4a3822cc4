// What a file of an array can be wrong about: its type, or everything.
#pragma once

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

namespace forkmap {

/// The file holds elements of another type, or in another byte order, than what was asked for.
class dtype_error : public std::runtime_error {
 public:
  dtype_error(std::string const& what, std::filesystem::path const& file)
      : std::runtime_error(what), file_(new std::filesystem::path(file)) {}

  std::filesystem::path const& path() const noexcept { return *file_; }

 private:
  std::shared_ptr<std::filesystem::path const> file_;  // shared: copying an error must not throw
};

/// The file is not what it claims: malformed, truncated, hostile, or of a format not known here.
class format_error : public std::runtime_error {
 public:
  format_error(std::string const& what, std::filesystem::path const& file)
      : std::runtime_error(what), file_(new std::filesystem::path(file)) {}

  std::filesystem::path const& path() const noexcept { return *file_; }

 private:
  std::shared_ptr<std::filesystem::path const> file_;
};

}  // namespace forkmap
