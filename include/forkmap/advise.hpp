// Advice to the kernel on memory of the program itself, such as a vector's.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <cstddef>
#include <span>

#include <forkmap/advice.hpp>
#include <forkmap/detail/os/pages.hpp>

namespace forkmap {

/// Tells the kernel how this process will use elements in its own memory, such as a vector's.
/// memmap and shared_array have a member function for theirs.
///
/// advice::huge_pages is for large arrays that workers will read: a fork copies one page table
/// entry per page, and each worker translates every page that it reads. With pages of 2 MiB instead
/// of 4 KiB there are 512 times fewer. Give this advice before the memory is first written; pages
/// that exist stay small, or the kernel converts them later. NumPy gives it for every array of 4
/// MiB or more. advice::dont_need would discard the elements, so it does nothing and returns false.
/// Returns: whether the kernel accepted the advice. It affects speed only.
/// Cost: one system call. Pages that the elements fill only in part are left out.
/// Forking: workers that are forked later inherit the advice.
/// Example: `values.reserve(n); advise(std::span(values.data(), n), advice::huge_pages);`
template <class T, std::size_t N> bool advise(std::span<T, N> elements, advice kind) noexcept {
  if (kind == advice::dont_need) return false;
  return detail::advise_pages(detail::pages_within(elements.data(), elements.size_bytes()), kind);
}

}  // namespace forkmap
