// The systems, compilers and flags that forkmap needs. Each public header includes this first, so
// that an unsupported one is reported in one sentence, before another header fails. The include of
// a header that does not exist then ends the compilation.
// SPDX-License-Identifier: MIT
#pragma once

// Compiler macros, checked before the first system header.
#if !defined(__linux__)
#error forkmap needs Linux: its tasks run in forked processes
#include <nothing: see the error above>
#elif __SIZEOF_POINTER__ != 8
#error forkmap needs a 64-bit program: compile it for x86-64, AArch64 or riscv64, without -m32
#include <nothing: see the error above>
#elif defined(__clang__) && __clang_major__ < 16
#error forkmap needs clang 16 or newer, or g++ 12 or newer
#include <nothing: see the error above>
#elif !defined(__clang__) && (!defined(__GNUC__) || __GNUC__ < 12)
#error forkmap needs g++ 12 or newer, or clang 16 or newer
#include <nothing: see the error above>
#elif __cplusplus < 202002L
#error forkmap needs C++20: compile with -std=c++20, or link the CMake target forkmap::forkmap
#include <nothing: see the error above>
#elif !defined(__cpp_rtti)
#error forkmap needs RTTI to identify the exceptions of tasks: compile without -fno-rtti
#include <nothing: see the error above>
#elif !defined(__cpp_exceptions)
#error forkmap needs exceptions: compile without -fno-exceptions
#include <nothing: see the error above>
#elif !__has_include(<boost/version.hpp>)
#error forkmap needs the headers of Boost 1.75 or newer (Debian 12: libboost1.81-dev)
#include <nothing: see the error above>
#else

// Library macros.
#include <features.h>

#include <boost/version.hpp>

#if !defined(__GLIBC__) || __GLIBC__ * 1000 + __GLIBC_MINOR__ < 2032
#error forkmap needs the GNU C library (glibc) 2.32 or newer
#include <nothing: see the error above>
#elif BOOST_VERSION < 107500
#error forkmap needs Boost 1.75 or newer; an older one was found (Debian 12: libboost1.81-dev)
#include <nothing: see the error above>
#endif

#endif
