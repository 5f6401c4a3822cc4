# Checks that every header compiles alone. For public headers CMake does this in the preset plain
# (CMAKE_VERIFY_INTERFACE_HEADER_SETS). Internal headers are compiled here, by clang, after
# precompiled standard headers, which takes a third of the time. tests/includes.sh checks that they
# include the standard headers that they need.
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang" OR NOT CMAKE_BUILD_TYPE STREQUAL "Debug"
    OR FORKMAP_SANITIZE)
  return()
endif()

set(sources "")
foreach(header IN LISTS internals)
  cmake_path(RELATIVE_PATH header BASE_DIRECTORY "${PROJECT_SOURCE_DIR}/include")
  set(source "${PROJECT_BINARY_DIR}/internals_alone/${header}.cpp")
  file(CONFIGURE OUTPUT "${source}" CONTENT "#include <${header}>\n#include <${header}>\n")
  list(APPEND sources "${source}")
endforeach()

add_library(forkmap_internals_alone OBJECT ${sources})
target_link_libraries(forkmap_internals_alone PRIVATE forkmap::forkmap)
target_compile_options(forkmap_internals_alone PRIVATE -O0)
target_precompile_headers(forkmap_internals_alone PRIVATE
  <algorithm> <atomic> <charconv> <chrono> <complex> <filesystem> <functional> <list> <memory>
  <mutex> <optional> <random> <ranges> <span> <stop_token> <string> <thread> <tuple> <variant>
  <vector>)
