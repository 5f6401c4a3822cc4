// The minimal code that a programmer would write without forkmap. The floors are made of it.
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

namespace bench::by_hand {

/// Ends the benchmark if a system call of a floor fails.
inline void check(bool good, char const* what) {
  if (good) return;
  std::perror(what);
  std::abort();
}

/// Memory shared with the processes that are forked later: a counter, then n elements.
template <class T> class shared_results {
 public:
  explicit shared_results(std::size_t n)
      : bytes_(first_byte + n * sizeof(T)),
        memory_(
            ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    check(memory_ != MAP_FAILED, "mmap");
    new (memory_) std::atomic<std::size_t>(0);
  }
  shared_results(shared_results const&) = delete;
  shared_results& operator=(shared_results const&) = delete;
  ~shared_results() { ::munmap(memory_, bytes_); }

  std::atomic<std::size_t>& next() const {
    return *static_cast<std::atomic<std::size_t>*>(memory_);
  }
  T* data() const { return reinterpret_cast<T*>(static_cast<std::byte*>(memory_) + first_byte); }

 private:
  static constexpr std::size_t first_byte = 64;
  std::size_t bytes_;
  void* memory_;
};

/// Runs body() in each of n forked processes, and waits for them.
template <class Body> void fork_and_wait(int n, Body&& body) {
  std::vector<pid_t> children;
  for (int k = 0; k != n; ++k) {
    auto const child = ::fork();
    check(child >= 0, "fork");
    if (child == 0) {
      body();
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (auto const child : children) {
    int status = 0;
    check(::waitpid(child, &status, 0) == child && status == 0, "waitpid");
  }
}

/// Two processes take chunks of [0, n) from a shared counter, and call body(i) for each index.
template <class Body>
void in_two_processes(std::atomic<std::size_t>& next, std::size_t n, std::size_t chunk,
                      Body&& body) {
  fork_and_wait(2, [&] {
    for (;;) {
      auto const begin = next.fetch_add(chunk, std::memory_order_relaxed);
      if (begin >= n) return;
      auto const end = n - begin < chunk ? n : begin + chunk;
      for (auto i = begin; i != end; ++i) body(i);
    }
  });
}

/// The bytes of a file from `offset` on, mapped for reading.
class mapped_file {
 public:
  mapped_file(char const* file, std::size_t offset, std::size_t bytes)
      : offset_(offset), bytes_(offset + bytes) {
    auto const fd = ::open(file, O_RDONLY | O_CLOEXEC);
    check(fd >= 0, "open");
    memory_ = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, fd, 0);
    check(memory_ != MAP_FAILED, "mmap");
    ::close(fd);
  }
  mapped_file(mapped_file const&) = delete;
  mapped_file& operator=(mapped_file const&) = delete;
  ~mapped_file() { ::munmap(memory_, bytes_); }

  double const* data() const {
    return reinterpret_cast<double const*>(static_cast<std::byte const*>(memory_) + offset_);
  }

 private:
  std::size_t offset_;
  std::size_t bytes_;
  void* memory_ = nullptr;
};

/// Opens the file of an array, reads its header, maps it and unmaps it.
inline void map_and_unmap(char const* file) {
  auto const fd = ::open(file, O_RDONLY | O_CLOEXEC);
  struct stat status{};
  check(fd >= 0 && ::fstat(fd, &status) == 0, "open");
  std::array<char, 128> header;
  check(::pread(fd, header.data(), header.size(), 0) == 128, "pread");
  auto const bytes = static_cast<std::size_t>(status.st_size);
  auto* const memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  check(memory != MAP_FAILED, "mmap");
  ::munmap(memory, bytes);
  ::close(fd);
}

/// Allocates a temporary file, writes it in one call and renames it: the guarantees of dump().
inline void write_and_rename(std::vector<double>& data, std::string const& file) {
  std::array<char, 128> header{};
  auto const bytes = data.size() * sizeof(double);
  auto const temporary = file + ".tmp";
  auto const fd = ::open(temporary.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
  check(fd >= 0, "open");
  check(::posix_fallocate(fd, 0, static_cast<off_t>(header.size() + bytes)) == 0, "fallocate");
  std::array<iovec, 2> const parts{{{header.data(), header.size()}, {data.data(), bytes}}};
  check(::writev(fd, parts.data(), 2) == static_cast<ssize_t>(header.size() + bytes), "writev");
  check(::close(fd) == 0, "close");
  check(std::rename(temporary.c_str(), file.c_str()) == 0, "rename");
}

}  // namespace bench::by_hand
