// Text that tasks had printed when their worker died, kept or printed by the caller.
// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/messages/inbox.hpp>
#include <forkmap/detail/os/output_files.hpp>
#include <forkmap/detail/os/worker_output.hpp>
#include <forkmap/output.hpp>

namespace forkmap::detail {

/// The folder of options::output, which is made if necessary, and the files that the mode needs.
/// Errors: std::filesystem::filesystem_error; std::system_error naming memfd_create.
inline output_files files_for(output_mode const& mode, std::uint32_t n_workers) {
  if (mode.what() == output_mode::directory) std::filesystem::create_directories(mode.folder());
  if (mode.what() == output_mode::inherit || mode.what() == output_mode::directory) return {};
  return output_files(n_workers, mode.what() == output_mode::line_prefix);
}

/// Keeps or prints what a task had printed when its worker died.
inline void retire_output(output_files const& files, output_mode const& mode, std::uint32_t k,
                          call_memory const& memory, std::uint64_t task,
                          message_inbox* inbox) noexcept {
  if (!files) return;
  try {
    if (mode.what() == output_mode::capture) {
      auto text = end_of_text(files.of(k, STDOUT_FILENO));
      if (inbox != nullptr && !text.empty()) inbox->note_output(task, std::move(text));
      return;
    }
    for (int const standard : {STDOUT_FILENO, STDERR_FILENO}) {
      auto const begin = memory.printed(k)[standard - 1].exchange(0);
      print_lines(files.of(k, standard), begin, true, [&](std::string const& text) {
        worker_output::print(standard, with_prefix(task, text));
      });
    }
  } catch (...) {  // out of memory: the output is lost
  }
}

}  // namespace forkmap::detail
