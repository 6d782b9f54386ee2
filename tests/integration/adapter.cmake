# The adapters, by way of the examples. Without examples there is nothing to test.
if(REFORK_BUILD_EXAMPLES)
  refork_test(adapter_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/adapter_test.cc LINK test_support LABELS integration)
  add_dependencies(adapter_test http_asio http_libevent http_threads http_uv)
  refork_test(beat_test
              SOURCES ${CMAKE_CURRENT_LIST_DIR}/beat_test.cc ${CMAKE_CURRENT_LIST_DIR}/fake_primary.cc
              LINK test_support refork_base LABELS integration)
  add_dependencies(beat_test http_asio http_libevent http_threads http_uv)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(CPP_HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)
  refork_test(httplib_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/httplib_test.cc
              LINK test_support refork PkgConfig::CPP_HTTPLIB LABELS integration)
endif()

# The client that those tests, and others, judge by.
refork_test(load_test SOURCES ${PROJECT_SOURCE_DIR}/tests/support/load_test.cc LINK test_support LABELS unit)
