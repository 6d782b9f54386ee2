add_executable(os_spawn_probe os_spawn_probe.cc)
target_link_libraries(os_spawn_probe PRIVATE refork_warnings)
set_target_properties(os_spawn_probe PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin/tests)

refork_test(os_tests
  SOURCES
    os_background_test.cc
    os_cgroup_test.cc
    os_core_dump_test.cc
    os_environment_test.cc
    os_fd_store_test.cc
    os_journal_test.cc
    os_file_test.cc
    os_listener_test.cc
    os_notify_test.cc
    os_paths_test.cc
    os_process_test.cc
    os_spawn_test.cc
    os_task_test.cc
    os_unit_test.cc
  LINK reforkd_os test_support LABELS os)
target_compile_definitions(os_tests PRIVATE REFORK_SPAWN_PROBE="$<TARGET_FILE:os_spawn_probe>")
add_dependencies(os_tests os_spawn_probe)

refork_test(log_tests
  SOURCES log_catalog_test.cc log_journal_test.cc log_test.cc
  LINK reforkd_log LABELS log)
target_compile_definitions(log_tests PRIVATE 
  REFORK_CATALOG="${PROJECT_SOURCE_DIR}/units/refork.catalog"
  REFORK_MANUAL="${PROJECT_SOURCE_DIR}/man/reforkctl.1")
