# Installed as it is: what find_package(forkmap) runs.
include(CMakeFindDependencyMacro)
find_dependency(Boost 1.75)
find_dependency(Threads)
include("${CMAKE_CURRENT_LIST_DIR}/forkmap-targets.cmake")
