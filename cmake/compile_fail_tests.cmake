# Every tests/compile_fail/*.cpp is one test: it must not compile, and the compiler's first error
# must contain what the file expects. tests/compile_fail/check.sh describes such a file.
file(GLOB sources CONFIGURE_DEPENDS compile_fail/*.cpp)

if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  set(compiler_kind clang)
else()
  set(compiler_kind gcc)
endif()
# Leave out the compiler's default folders: naming them would change their order.
get_target_property(boost_include Boost::headers INTERFACE_INCLUDE_DIRECTORIES)
list(REMOVE_ITEM boost_include ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
list(TRANSFORM boost_include PREPEND -isystem)

separate_arguments(flags NATIVE_COMMAND "${CMAKE_CXX_FLAGS}")
set(compile "${CMAKE_CXX_COMPILER}" ${flags} -std=c++20 -I "${PROJECT_SOURCE_DIR}/include"
  ${boost_include})
# All tests share one precompiled header, so that forkmap's headers are parsed once.
set(header "${CMAKE_CURRENT_BINARY_DIR}/compile_fail/precompiled.hpp")
set(precompiled "${header}.gch")
file(CONFIGURE OUTPUT "${header}" CONTENT "#include <forkmap/forkmap.hpp>\n")
add_custom_command(OUTPUT "${precompiled}"
  COMMAND ${compile} -x c++-header "${header}" -o "${precompiled}" -MD -MF "${header}.d"
  DEPENDS "${header}" DEPFILE "${header}.d" VERBATIM)
add_custom_target(compile_fail_header ALL DEPENDS "${precompiled}")
list(APPEND compile -include "${header}")

# The controls, which must compile: with -DCONTROL each file is a correct program. All controls are
# compiled as one file; those that use CALLS are compiled once for parallel and once for pool.
set(controls_of_parallel "")
set(controls_of_pool "")
foreach(source IN LISTS sources)
  cmake_path(GET source STEM name)
  set(control "#define main control_of_${name}\n#include \"${source}\"\n#undef main\n")
  string(APPEND controls_of_parallel "${control}")
  file(READ "${source}" text)
  if(text MATCHES "CALLS")
    string(APPEND controls_of_pool "${control}")
  endif()
endforeach()
foreach(calls parallel pool)
  set(controls_file "${CMAKE_CURRENT_BINARY_DIR}/compile_fail/controls_of_${calls}.cpp")
  file(CONFIGURE OUTPUT "${controls_file}" CONTENT "${controls_of_${calls}}")
  add_test(NAME "compile_fail: controls of ${calls}"
    COMMAND ${compile} -DCONTROL "-DCALLS=forkmap::${calls}(2)" -fsyntax-only -w "${controls_file}")
  set_tests_properties("compile_fail: controls of ${calls}" PROPERTIES TIMEOUT 300)
endforeach()

foreach(source IN LISTS sources)
  cmake_path(GET source STEM name)
  add_test(NAME "compile_fail: ${name}"
    COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/compile_fail/check.sh" ${compiler_kind} "${source}"
      ${compile})
  set_tests_properties("compile_fail: ${name}" PROPERTIES TIMEOUT 120)
endforeach()
