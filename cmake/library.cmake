# What users get: the target forkmap::forkmap, headers and nothing else.
find_package(Boost 1.75 REQUIRED)
find_package(Threads REQUIRED)

file(GLOB_RECURSE headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/include/*.hpp")

add_library(forkmap INTERFACE)
add_library(forkmap::forkmap ALIAS forkmap)
target_sources(forkmap INTERFACE
  FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}/include" FILES ${headers})
target_compile_features(forkmap INTERFACE cxx_std_20)
target_link_libraries(forkmap INTERFACE Boost::headers Threads::Threads)
