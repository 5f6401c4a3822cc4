// Kinds of advice to the kernel on how a program will use an array.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

namespace forkmap {

/// The expected use of an array's memory: the argument of advise(). It affects speed only.
///
/// Source: madvise(2).
enum class advice {
  /// No expectation. Revokes other advice.
  normal,
  /// Sequential access: the kernel reads far ahead and frees pages behind the access early.
  sequential,
  /// Random access: the kernel does not read ahead.
  random,
  /// Access soon: the kernel starts to read from the disk now.
  will_need,
  /// No access soon: the process releases the pages. The content stays in the file or in the shared
  /// memory, and is available again at the next access. For copy_on_write arrays this would discard
  /// writes, so advise() does nothing and returns false.
  dont_need,
  /// Use huge pages if the system supports them for this kind of memory.
  huge_pages
};

}  // namespace forkmap
