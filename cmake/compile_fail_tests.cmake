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

foreach(source IN LISTS sources)
  cmake_path(GET source STEM name)
  add_test(NAME "compile_fail: ${name}"
    COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/compile_fail/check.sh" ${compiler_kind} "${source}"
      "${CMAKE_CXX_COMPILER}" -std=c++20
      -I "${PROJECT_SOURCE_DIR}/include" ${boost_include})
  set_tests_properties("compile_fail: ${name}" PROPERTIES TIMEOUT 120)
endforeach()
