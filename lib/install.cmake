# librefork as others get it: headers, both libraries, a CMake package and a pkg-config file. The component `librefork` can be
# installed alone: cmake --install BUILD --component librefork --prefix DIR
include(CMakePackageConfigHelpers)

set(component COMPONENT librefork)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/refork)

install(TARGETS refork refork_static EXPORT refork
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ${component} NAMELINK_COMPONENT librefork
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} ${component})
install(DIRECTORY include/refork DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} ${component}
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.h")
install(EXPORT refork FILE refork-targets.cmake NAMESPACE refork:: DESTINATION ${package_dir} ${component})

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/refork-config.cmake.in refork-config.cmake
                              INSTALL_DESTINATION ${package_dir})
# While the major version is 0 a minor one may break.
write_basic_package_version_file(refork-config-version.cmake VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/refork-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/refork-config-version.cmake
        DESTINATION ${package_dir} ${component})

# Relative to the file itself where it can be, so that the prefix is chosen when installing, and may be moved.
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR} OR IS_ABSOLUTE ${CMAKE_INSTALL_INCLUDEDIR})
  set(REFORK_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
  set(REFORK_PC_LIBDIR ${CMAKE_INSTALL_FULL_LIBDIR})
  set(REFORK_PC_INCLUDEDIR ${CMAKE_INSTALL_FULL_INCLUDEDIR})
else()
  file(RELATIVE_PATH up /${pc_dir} /)
  string(REGEX REPLACE "/$" "" up "${up}")
  set(REFORK_PC_PREFIX "\${pcfiledir}/${up}")
  set(REFORK_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
  set(REFORK_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/refork.pc.in refork.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/refork.pc DESTINATION ${pc_dir} ${component})
