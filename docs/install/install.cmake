# What `cmake --install` brings beside the program: pages, licence, and with FT_LIBRARY the library; packages of it (cpack).
install(FILES LICENSE README.md SECURITY.md docs/settings.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
file(GLOB SETTINGS experiments/*.yaml)
install(FILES ${SETTINGS} DESTINATION ${CMAKE_INSTALL_DATADIR}/forty/experiments)
file(GLOB MAN_PAGES docs/man/*.1)
install(FILES ${MAN_PAGES} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES docs/man/forty-settings.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES docs/completions/forty DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)

if(FT_LIBRARY)
  add_library(forty_shared SHARED docs/install/empty.c)
  set_target_properties(forty_shared PROPERTIES OUTPUT_NAME forty EXPORT_NAME forty VERSION ${PROJECT_VERSION}
                                                SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  target_link_libraries(forty_shared PRIVATE -Wl,--whole-archive $<TARGET_FILE:forty_lib> $<TARGET_FILE:forty_core> -Wl,--no-whole-archive
                                             forty_lib)
  target_link_options(forty_shared PRIVATE -Wl,--version-script=${CMAKE_SOURCE_DIR}/docs/install/libforty.map -Wl,--no-undefined)
  set_target_properties(forty_shared PROPERTIES LINK_DEPENDS ${CMAKE_SOURCE_DIR}/docs/install/libforty.map)
  add_dependencies(forty_shared forty_lib forty_core)
  target_include_directories(forty_shared INTERFACE $<INSTALL_INTERFACE:include> $<INSTALL_INTERFACE:include/forty>)
  install(TARGETS forty_shared EXPORT forty LIBRARY)
  set_target_properties(forty_lib PROPERTIES OUTPUT_NAME forty ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/static)
  install(FILES $<TARGET_FILE:forty_lib> $<TARGET_FILE:forty_core> DESTINATION ${CMAKE_INSTALL_LIBDIR})
  # <forty/graph.h>, and the headers that it is made of
  install(DIRECTORY common/forty/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/forty FILES_MATCHING PATTERN "*.h")
  install(DIRECTORY common gen classify experiments kernels DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/forty FILES_MATCHING PATTERN "*.h"
          PATTERN "common/forty" EXCLUDE PATTERN "kernels/cpu" EXCLUDE PATTERN "kernels/cuda" EXCLUDE PATTERN "common/mpi" EXCLUDE)
  install(EXPORT forty NAMESPACE forty:: FILE fortyConfig.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/forty)
  include(CMakePackageConfigHelpers)
  write_basic_package_version_file(fortyConfigVersion.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/fortyConfigVersion.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/forty)
  list(JOIN HDF5_LDFLAGS " " HDF5_LDFLAGS_TEXT)
  configure_file(docs/install/forty.pc.in forty.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/forty.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()

set(CPACK_PACKAGE_CONTACT "the forty developers <forty@localhost>")
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON) # the libraries that it is linked with, by dpkg-shlibdeps
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
include(CPack)
