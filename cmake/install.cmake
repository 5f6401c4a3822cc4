# Installs and exports the target, so that find_package(forkmap) provides forkmap::forkmap.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

# In share/, because the files are the same for every architecture.
set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/forkmap")
install(TARGETS forkmap EXPORT forkmap-targets
  FILE_SET HEADERS FILE_SET internals FILE_SET adaptors)
install(EXPORT forkmap-targets NAMESPACE forkmap:: DESTINATION "${package_dir}")

# Below 1.0 a minor version may break its users.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/forkmap-config-version.cmake"
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES
  "${PROJECT_SOURCE_DIR}/cmake/compiled.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/forkmap-config.cmake"
  "${PROJECT_BINARY_DIR}/forkmap-config-version.cmake"
  DESTINATION "${package_dir}")
