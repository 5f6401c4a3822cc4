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
template owner<call_results> run<>(job this_job, options const& opts);
template owner<call_results> run_here<>(job const& this_job, options const& opts);
template pool_interface* make_pool<>(options const& opts, std::uint32_t n_workers);
template owner<array_directory> read_directory<>(byte_source const& source);
template array_format const& format_for_name<>(std::filesystem::path const& file);
template std::string head_of_new_file<>(std::filesystem::path const& file,
                                        element_type const& element, shape const& dims,
                                        order layout);

}  // namespace forkmap::detail
