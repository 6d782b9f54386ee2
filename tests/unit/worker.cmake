# tests of worker
refork_test(worker_parts_test SOURCES worker_parts_test.cc LINK refork_objects refork_internal LABELS lib)

# The program that worker_process_test drives, over the public API.
add_executable(worker_subject worker_subject.cc)
target_link_libraries(worker_subject PRIVATE refork_static refork_warnings)
set_target_properties(worker_subject PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin/tests)

refork_test(worker_process_test
  SOURCES worker_process_test.cc ${PROJECT_SOURCE_DIR}/tests/integration/fake_primary.cc
  LINK test_support refork_base LABELS lib)
target_compile_definitions(worker_process_test PRIVATE WORKER_SUBJECT="$<TARGET_FILE:worker_subject>")
add_dependencies(worker_process_test worker_subject)
