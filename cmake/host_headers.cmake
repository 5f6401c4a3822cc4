# Cross-compiling with this machine's headers of Boost and Catch2, which are the same for every
# processor. They are linked into a separate folder, because all of /usr/include would hide the
# target's C library headers.
set(host_headers "${PROJECT_BINARY_DIR}/headers")
file(MAKE_DIRECTORY "${host_headers}")

# forkmap_host_headers(<target> <folder in /usr/include> <header in it>)
function(forkmap_host_headers target folder header)
  if(NOT EXISTS "/usr/include/${folder}/${header}")
    message(FATAL_ERROR "/usr/include/${folder}/${header} not found")
  endif()
  file(CREATE_LINK "/usr/include/${folder}" "${host_headers}/${folder}" SYMBOLIC)
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${target} SYSTEM INTERFACE "${host_headers}")
endfunction()

forkmap_host_headers(Boost::headers boost version.hpp)
forkmap_host_headers(Catch2::Catch2 catch2 catch.hpp)  # version 2: version 3 is a library

# Catch.cmake: catch_discover_tests().
list(APPEND CMAKE_MODULE_PATH /usr/lib/cmake/Catch2)
