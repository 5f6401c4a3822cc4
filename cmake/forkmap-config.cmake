# The file that find_package(forkmap) runs. It is installed unchanged.
include(CMakeFindDependencyMacro)
find_dependency(Boost 1.75)
find_dependency(Threads)
include("${CMAKE_CURRENT_LIST_DIR}/forkmap-targets.cmake")

include("${CMAKE_CURRENT_LIST_DIR}/compiled.cmake")
# Its source lies beside the headers.
get_target_property(forkmap_include_dirs forkmap::forkmap HEADER_DIRS)
foreach(dir IN LISTS forkmap_include_dirs)
  if(EXISTS "${dir}/forkmap/detail/forkmap.cpp")
    forkmap_add_compiled("${dir}/forkmap/detail/forkmap.cpp")
  endif()
endforeach()
unset(forkmap_include_dirs)
