// System calls that fail on demand: the linker sends each call of these functions to a wrapper (see
// cmake/test_programs.cmake), also those made inside Boost.
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
  socketpair,
  eventfd,
  send,
  recv,
  count_
};

std::string_view name_of(function f);

/// From now on the nth next call of f in this process fails with that errno, once.
void arm(function f, int nth, int code);

/// From now on function::syscall means system calls of that number alone; -1: all of them.
void count_only(long number);

/// Ends arm().
/// Returns: whether the call came, and failed.
bool disarm();

/// Somebody else collects the child whose pidfd is asked for by the nth next pidfd_open of this process,
/// just before: which sends it that signal, or with 0 waits until it ends of itself.
void collect_before_pidfd_open(int nth, int signal);
/// Ends collect_before_pidfd_open().
/// Returns: whether a child was collected.
bool collected();

/// From now on, in children too, an open of `path` opens `instead`. Both must stay valid; null ends
/// it.
void redirect(char const* path, char const* instead);
/// The next mmap of a file finds `path` cut to that size. It must stay valid until then.
void shorten_at_mmap(char const* path, std::size_t bytes);
/// How many opens have been redirected in this process.
int redirected();
/// How many memfds forkmap has asked for in this process: 0 before its first map.
int memfds_made();

/// From now on, in children too, dlsym finds that function under that name; null ends it.
void provide(char const* name, void* function);

}  // namespace fault
