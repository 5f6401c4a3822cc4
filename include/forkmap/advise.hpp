// Advice to the kernel on memory that is not forkmap's: what memmap and shared_array have as a member.
#pragma once

#include <cstddef>
#include <span>

#include <forkmap/advice.hpp>
#include <forkmap/system/pages.hpp>

namespace forkmap {

/// Tells the kernel how this process will use elements that lie in memory of its own: a vector's, say.
///
/// huge_pages is for large arrays that workers will see: a fork copies a word of the page tables for
/// every page, and each worker's core looks every page up that it reads. With pages of 2 MiB instead
/// of 4 KiB there are 512 times fewer. Say it before the memory is first written, for what is there
/// stays as it is, or is changed at the kernel's leisure. NumPy asks for it for every array from
/// 4 MiB on.
/// dont_need would lose what is there: it does nothing, and returns false.
///
/// Returns: whether the kernel took it; it changes nothing but speed.
/// Cost: one system call. Pages of which the elements have a part only are left out.
/// Forking: workers forked later begin with the same advice.
/// Example: `values.reserve(n); advise(std::span(values.data(), n), advice::huge_pages);`
template <class T, std::size_t N> bool advise(std::span<T, N> elements, advice what) noexcept {
  if (what == advice::dont_need) return false;
  return detail::advise_pages(detail::pages_within(elements.data(), elements.size_bytes()), what);
}

}  // namespace forkmap
