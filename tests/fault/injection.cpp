// SPDX-License-Identifier: MIT
#include "injection.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <utility>

#include <forkmap/detail/os/exits.hpp>
#include <forkmap/detail/os/program_functions.hpp>

namespace fault {
namespace {

std::atomic<int> armed{-1};
std::atomic<int> calls_until_failure{0};
std::atomic<int> code_to_set{0};
std::atomic<bool> fired{false};
std::atomic<long> only_number{-1};
int left_to_collect = 0;
int signal_to_collected = 0;
bool has_collected = false;
pid_t armed_in = 0;  // children inherit these variables, but only this process fails

char const* redirected_from = nullptr;
char const* redirected_to = nullptr;
int n_redirected = 0;
int n_memfds = 0;
char const* shortened = nullptr;
std::size_t shortened_to = 0;
char const* provided_name = nullptr;
void* provided_function = nullptr;

bool fails(function f) {
  if (armed.load() != static_cast<int>(f) || armed_in != ::getpid() ||
      calls_until_failure.fetch_sub(1) != 1) {
    return false;
  }
  fired = true;
  errno = code_to_set;
  return true;
}

void collect_if_due(pid_t child) {
  if (left_to_collect == 0 || armed_in != ::getpid() || --left_to_collect != 0) return;
  if (signal_to_collected != 0) ::kill(child, signal_to_collected);
  has_collected = ::waitpid(child, nullptr, 0) == child;
}

}  // namespace

std::string_view name_of(function f) {
  constexpr std::array<std::string_view, static_cast<std::size_t>(function::count_)> names{
      "memfd_create", "ftruncate",  "mmap",      "fork",   "syscall", "ppoll",  "open",
      "fstat",        "pread",      "fallocate", "writev", "linkat",  "rename", "msync",
      "fsync",        "flock",      "getrandom", "write",  "pwrite",  "dlopen", "mprotect",
      "mremap",       "socketpair", "eventfd",   "send",   "recv"};
  return names[static_cast<std::size_t>(f)];
}

void arm(function f, int nth, int code) {
  // On a loaded machine a slow worker would be forked again, which would make more calls. So the
  // limit for a worker's start is raised.
  forkmap::detail::start_limit_ns = 30'000'000'000;
  fired = false;
  calls_until_failure = nth;
  code_to_set = code;
  armed_in = ::getpid();
  armed = static_cast<int>(f);
}

void count_only(long number) { only_number = number; }

bool disarm() {
  armed = -1;
  return fired;
}

void collect_before_pidfd_open(int nth, int signal) {
  left_to_collect = nth;
  signal_to_collected = signal;
  has_collected = false;
  armed_in = ::getpid();
}

bool collected() {
  left_to_collect = 0;
  return has_collected;
}

void redirect(char const* path, char const* instead) {
  redirected_from = path;
  redirected_to = instead;
}
void shorten_at_mmap(char const* path, std::size_t bytes) {
  shortened = path;
  shortened_to = bytes;
}
int redirected() { return n_redirected; }
int memfds_made() { return n_memfds; }

void provide(char const* name, void* function) {
  provided_name = name;
  provided_function = function;
  forkmap::detail::program_functions::forget();
}

static char const* path_to_open(char const* path) {
  if (redirected_from == nullptr || std::strcmp(path, redirected_from) != 0) return path;
  ++n_redirected;
  return redirected_to;
}
static void* function_provided(char const* name) {
  return provided_name != nullptr && std::strcmp(name, provided_name) == 0 ? provided_function
                                                                           : nullptr;
}

}  // namespace fault

// The names that the linker's option --wrap expects.
extern "C" {
using fault::fails, fault::function;

int __real_memfd_create(char const*, unsigned);
int __wrap_memfd_create(char const* name, unsigned flags) {
  if (std::strcmp(name, "forkmap") == 0) ++fault::n_memfds;
  return fails(function::memfd_create) ? -1 : __real_memfd_create(name, flags);
}
int __real_ftruncate(int, off_t);
int __wrap_ftruncate(int fd, off_t bytes) {
  return fails(function::ftruncate) ? -1 : __real_ftruncate(fd, bytes);
}
void* __real_mmap(void*, std::size_t, int, int, int, off_t);
void* __wrap_mmap(void* at, std::size_t bytes, int protection, int flags, int fd, off_t offset) {
  if (fd >= 0 && fault::shortened != nullptr) {
    static_cast<void>(!::truncate(std::exchange(fault::shortened, nullptr),
                                  static_cast<off_t>(fault::shortened_to)));
  }
  return fails(function::mmap) ? MAP_FAILED : __real_mmap(at, bytes, protection, flags, fd, offset);
}
pid_t __real_fork();
pid_t __wrap_fork() { return fails(function::fork) ? -1 : __real_fork(); }
long __real_syscall(long, ...);
// Always reads six arguments, even if fewer were passed; sanitizers would report that.
__attribute__((no_sanitize("address", "undefined"))) long __wrap_syscall(long number, ...) {
  va_list arguments;
  va_start(arguments, number);
  std::array<long, 6> all{};
  for (auto& argument : all) argument = va_arg(arguments, long);
  va_end(arguments);
  if (number == SYS_pidfd_open) fault::collect_if_due(static_cast<pid_t>(all[0]));
  bool const counts = fault::only_number == -1 || fault::only_number == number;
  return counts && fails(function::syscall)
             ? -1
             : __real_syscall(number, all[0], all[1], all[2], all[3], all[4], all[5]);
}
int __real_ppoll(pollfd*, nfds_t, timespec const*, sigset_t const*);
int __wrap_ppoll(pollfd* fds, nfds_t n, timespec const* timeout, sigset_t const* mask) {
  return fails(function::ppoll) ? -1 : __real_ppoll(fds, n, timeout, mask);
}
int __real_open(char const*, int, ...);
__attribute__((no_sanitize("address", "undefined"))) int __wrap_open(char const* path, int flags,
                                                                     ...) {
  va_list arguments;
  va_start(arguments, flags);
  auto const mode = va_arg(arguments, mode_t);
  va_end(arguments);
  return fails(function::open) ? -1 : __real_open(fault::path_to_open(path), flags, mode);
}
void* __real_dlsym(void*, char const*);
void* __wrap_dlsym(void* library, char const* name) {
  auto* const provided = fault::function_provided(name);
  return provided != nullptr ? provided : __real_dlsym(library, name);
}
int __real_fstat(int, struct stat*);
int __wrap_fstat(int fd, struct stat* status) {
  return fails(function::fstat) ? -1 : __real_fstat(fd, status);
}
ssize_t __real_pread(int, void*, std::size_t, off_t);
ssize_t __wrap_pread(int fd, void* data, std::size_t bytes, off_t offset) {
  return fails(function::pread) ? -1 : __real_pread(fd, data, bytes, offset);
}
int __real_fallocate(int, int, off_t, off_t);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t bytes) {
  return fails(function::fallocate) ? -1 : __real_fallocate(fd, mode, offset, bytes);
}
ssize_t __real_writev(int, iovec const*, int);
ssize_t __wrap_writev(int fd, iovec const* parts, int n) {
  return fails(function::writev) ? -1 : __real_writev(fd, parts, n);
}
ssize_t __real_pwrite(int, void const*, std::size_t, off_t);
ssize_t __wrap_pwrite(int fd, void const* data, std::size_t bytes, off_t offset) {
  return fails(function::pwrite) ? -1 : __real_pwrite(fd, data, bytes, offset);
}
void* __real_dlopen(char const*, int);
void* __wrap_dlopen(char const* library, int flags) {
  return fails(function::dlopen) ? nullptr : __real_dlopen(library, flags);
}
int __real_linkat(int, char const*, int, char const*, int);
int __wrap_linkat(int from, char const* old_path, int to, char const* new_path, int flags) {
  return fails(function::linkat) ? -1 : __real_linkat(from, old_path, to, new_path, flags);
}
int __real_rename(char const*, char const*);
int __wrap_rename(char const* from, char const* to) {
  return fails(function::rename) ? -1 : __real_rename(from, to);
}
int __real_msync(void*, std::size_t, int);
int __wrap_msync(void* at, std::size_t bytes, int flags) {
  return fails(function::msync) ? -1 : __real_msync(at, bytes, flags);
}
int __real_mprotect(void*, std::size_t, int);
int __wrap_mprotect(void* at, std::size_t bytes, int protection) {
  return fails(function::mprotect) ? -1 : __real_mprotect(at, bytes, protection);
}
void* __real_mremap(void*, std::size_t, std::size_t, int, void*);
void* __wrap_mremap(void* from, std::size_t bytes, std::size_t new_bytes, int flags, void* to) {
  return fails(function::mremap) ? MAP_FAILED : __real_mremap(from, bytes, new_bytes, flags, to);
}
int __real_fsync(int);
int __wrap_fsync(int fd) { return fails(function::fsync) ? -1 : __real_fsync(fd); }
int __real_flock(int, int);
int __wrap_flock(int fd, int operation) {
  return fails(function::flock) ? -1 : __real_flock(fd, operation);
}
ssize_t __real_getrandom(void*, std::size_t, unsigned);
ssize_t __wrap_getrandom(void* into, std::size_t bytes, unsigned flags) {
  return fails(function::getrandom) ? -1 : __real_getrandom(into, bytes, flags);
}
ssize_t __real_write(int, void const*, std::size_t);
ssize_t __wrap_write(int fd, void const* data, std::size_t bytes) {
  return fails(function::write) ? -1 : __real_write(fd, data, bytes);
}
int __real_socketpair(int, int, int, int*);
int __wrap_socketpair(int domain, int type, int protocol, int* ends) {
  return fails(function::socketpair) ? -1 : __real_socketpair(domain, type, protocol, ends);
}
int __real_eventfd(unsigned, int);
int __wrap_eventfd(unsigned count, int flags) {
  return fails(function::eventfd) ? -1 : __real_eventfd(count, flags);
}
ssize_t __real_send(int, void const*, std::size_t, int);
ssize_t __wrap_send(int fd, void const* data, std::size_t bytes, int flags) {
  return fails(function::send) ? -1 : __real_send(fd, data, bytes, flags);
}
ssize_t __real_recv(int, void*, std::size_t, int);
ssize_t __wrap_recv(int fd, void* data, std::size_t bytes, int flags) {
  return fails(function::recv) ? -1 : __real_recv(fd, data, bytes, flags);
}
}
