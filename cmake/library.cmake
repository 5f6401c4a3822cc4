# The targets for users: forkmap::forkmap, which is header-only, and forkmap::compiled.
if(NOT TARGET Boost::headers)
  find_package(Boost 1.75 REQUIRED)
endif()
find_package(Threads REQUIRED)

file(GLOB_RECURSE headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/include/*.hpp")
# Headers that need another library, which may not be installed.
set(adaptors ${headers})
list(FILTER adaptors INCLUDE REGEX "/include/forkmap/adapt/")
list(FILTER headers EXCLUDE REGEX "/include/forkmap/adapt/")
# Headers in subfolders are internal: users do not include them directly.
set(internals ${headers})
list(FILTER internals INCLUDE REGEX "/include/forkmap/.+/")
list(FILTER headers EXCLUDE REGEX "/include/forkmap/.+/")

add_library(forkmap INTERFACE)
add_library(forkmap::forkmap ALIAS forkmap)
target_sources(forkmap INTERFACE
  FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}/include" FILES ${headers}
  FILE_SET internals TYPE HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}/include" FILES ${internals}
    "${PROJECT_SOURCE_DIR}/include/forkmap/detail/forkmap.cpp"
  FILE_SET adaptors TYPE HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}/include" FILES ${adaptors})
set_target_properties(forkmap PROPERTIES INTERFACE_HEADER_SETS_TO_VERIFY HEADERS)
target_compile_features(forkmap INTERFACE cxx_std_20)
target_link_libraries(forkmap INTERFACE Boost::headers Threads::Threads)

include("${CMAKE_CURRENT_LIST_DIR}/compiled.cmake")
forkmap_add_compiled("${PROJECT_SOURCE_DIR}/include/forkmap/detail/forkmap.cpp")
