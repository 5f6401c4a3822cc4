// The library of the CMake target forkmap::compiled: what its users do not compile themselves.
// SPDX-License-Identifier: MIT
#include <cstdint>
#include <filesystem>
#include <string>

#include <forkmap/forkmap.hpp>

#ifdef FORKMAP_COMPILED
#error forkmap.cpp is compiled without FORKMAP_COMPILED, which is for the users of the library
#endif

namespace forkmap::detail {

// Declared in engine/run.hpp, pool/make_pool.hpp and mapped/formats.hpp.
owner<call_results> run_compiled(job const& this_job, options const& opts) {
  return run(this_job, opts);
}
owner<call_results> run_here_compiled(job const& this_job, options const& opts) {
  return run_here(this_job, opts);
}
pool_interface* make_pool_compiled(options const& opts, std::uint32_t n_workers) {
  return make_pool(opts, n_workers);
}

owner<array_directory> read_directory_compiled(byte_source const& source) {
  return read_directory(source);
}
array_format const& format_for_name_compiled(std::filesystem::path const& file) {
  return format_for_name(file);
}
std::string head_of_new_file_compiled(std::filesystem::path const& file,
                                      element_type const& element, shape const& dims,
                                      order layout) {
  return head_of_new_file(file, element, dims, layout);
}

}  // namespace forkmap::detail
