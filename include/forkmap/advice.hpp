// What a program can tell the kernel of how it will use an array.
#pragma once

namespace forkmap {

/// How a mapped array will be used: the argument of advise().
enum class advice {
  /// Nothing in particular; takes the others back.
  normal,
  /// From one end to the other: much is read ahead, and what lies behind is given up early.
  sequential,
  /// Here and there: nothing is read ahead.
  random,
  /// Soon: the kernel begins to read it from the disk now.
  will_need,
  /// Not soon: this process gives its pages back. The content stays, in the file or in the memory
  /// that is shared, and comes again when it is touched. Not for copy_on_write, where it would undo
  /// what was written: advise() does nothing there and returns false.
  dont_need,
  /// In huge pages, where the system has them for memory of this kind.
  huge_pages
};

}  // namespace forkmap
