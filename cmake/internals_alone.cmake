# Every header compiles alone. Public ones do with nothing before them: CMake sees to it with the
# preset plain (CMAKE_VERIFY_INTERFACE_HEADER_SETS). Those behind them find standard headers compiled
# already, by clang, which takes a third of the time then; tests/includes.sh sees to it that they
# include what they name of those.
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
