# Every tests/compile_fail/*.cpp is one test: it must not compile, and the compiler's first error
# must say what the file expects. tests/compile_fail/check.sh tells how such a file looks.
file(GLOB sources CONFIGURE_DEPENDS compile_fail/*.cpp)

if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  set(compiler_kind clang)
else()
  set(compiler_kind gcc)
endif()
# Not those that the compiler knows by itself: naming them would change their order.
get_target_property(boost_include Boost::headers INTERFACE_INCLUDE_DIRECTORIES)
list(REMOVE_ITEM boost_include ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
list(TRANSFORM boost_include PREPEND -isystem)

separate_arguments(flags NATIVE_COMMAND "${CMAKE_CXX_FLAGS}")
set(compile "${CMAKE_CXX_COMPILER}" ${flags} -std=c++20 -I "${PROJECT_SOURCE_DIR}/include"
  ${boost_include})
# They read forkmap's headers once, not each for itself.
set(header "${CMAKE_CURRENT_BINARY_DIR}/compile_fail/precompiled.hpp")
set(precompiled "${header}.gch")
file(CONFIGURE OUTPUT "${header}" CONTENT "#include <forkmap/forkmap.hpp>\n")
add_custom_command(OUTPUT "${precompiled}"
  COMMAND ${compile} -x c++-header "${header}" -o "${precompiled}" -MD -MF "${header}.d"
  DEPENDS "${header}" DEPFILE "${header}.d" VERBATIM)
add_custom_target(compile_fail_header ALL DEPENDS "${precompiled}")
list(APPEND compile -include "${header}")

# What must compile: with -DCONTROL each file is a right program. All are compiled as one.
set(controls "")
foreach(source IN LISTS sources)
  cmake_path(GET source STEM name)
  string(APPEND controls "#define main control_of_${name}\n#include \"${source}\"\n#undef main\n")
endforeach()
set(controls_file "${CMAKE_CURRENT_BINARY_DIR}/compile_fail/controls.cpp")
file(CONFIGURE OUTPUT "${controls_file}" CONTENT "${controls}")
add_test(NAME "compile_fail: controls"
  COMMAND ${compile} -DCONTROL -fsyntax-only -w "${controls_file}")
set_tests_properties("compile_fail: controls" PROPERTIES TIMEOUT 300)

foreach(source IN LISTS sources)
  cmake_path(GET source STEM name)
  add_test(NAME "compile_fail: ${name}"
    COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/compile_fail/check.sh" ${compiler_kind} "${source}"
      ${compile})
  set_tests_properties("compile_fail: ${name}" PROPERTIES TIMEOUT 120)
endforeach()
