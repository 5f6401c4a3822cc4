// System calls that fail on demand. The linker redirects each call of these functions to a wrapper
// (see --wrap in tests/CMakeLists.txt), including the calls made by Boost.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string_view>

namespace fault {

/// The wrapped functions.
enum class function {
  memfd_create,
  ftruncate,
  mmap,
  fork,
  syscall,
  ppoll,
  open,
  fstat,
  pread,
  fallocate,
  writev,
  linkat,
  rename,
  msync,
  fsync,
  flock,
  getrandom,
  write,
  pwrite,
  dlopen,
  mprotect,
  mremap,
  socketpair,
  eventfd,
  send,
  recv,
  count_
};

std::string_view name_of(function f);

/// Makes the nth call of f from now on in this process fail with errno `code`, once.
void arm(function f, int nth, int code);

/// Restricts function::syscall to system calls of that number from now on; -1: all numbers.
void count_only(long number);

/// Ends arm().
/// Returns: whether the call was made and failed.
bool disarm();

/// Reaps a child with waitpid just before the nth pidfd_open from now on in this process, which is
/// for that child. Sends the signal to the child first; with signal 0, waits until the child exits
/// by itself.
void collect_before_pidfd_open(int nth, int signal);
/// Ends collect_before_pidfd_open().
/// Returns: whether a child was reaped.
bool collected();

/// Makes every open of `path` open `instead`, from now on, in children too. Both strings must stay
/// valid. Null ends the redirection.
void redirect(char const* path, char const* instead);
/// Truncates `path` to that size just before the next mmap of a file. `path` must stay valid until
/// then.
void shorten_at_mmap(char const* path, std::size_t bytes);
/// The number of opens that were redirected in this process.
int redirected();
/// The number of memfds that forkmap requested in this process: 0 before its first map.
int memfds_made();

/// Makes dlsym return that function for that name, from now on, in children too. Null ends it.
void provide(char const* name, void* function);

}  // namespace fault
