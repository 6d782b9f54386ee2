# tests of worker
refork_test(worker_parts_test SOURCES crash_answer_test.cc worker_parts_test.cc LINK refork_objects refork_internal LABELS lib)

# The program that worker_process_test drives, over the public API.
add_executable(worker_subject worker_subject.cc)
target_link_libraries(worker_subject PRIVATE refork_static refork_warnings)
set_target_properties(worker_subject PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin/tests)

refork_test(worker_process_test
  SOURCES worker_process_test.cc ${PROJECT_SOURCE_DIR}/tests/integration/fake_primary.cc
  LINK test_support refork_base LABELS lib)
target_compile_definitions(worker_process_test PRIVATE WORKER_SUBJECT="$<TARGET_FILE:worker_subject>")
add_dependencies(worker_process_test worker_subject)

# The program that crash_process_test lets die. Its stacks are to have their frames.
add_executable(crash_subject crash_subject.cc)
target_compile_options(crash_subject PRIVATE -fno-optimize-sibling-calls -fno-stack-protector)
target_link_libraries(crash_subject PRIVATE refork_static refork_warnings)
set_target_properties(crash_subject PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin/tests)

refork_test(crash_process_test
  SOURCES crash_process_test.cc ${PROJECT_SOURCE_DIR}/tests/integration/fake_primary.cc
  LINK test_support refork_base LABELS lib)
target_compile_definitions(crash_process_test PRIVATE CRASH_SUBJECT="$<TARGET_FILE:crash_subject>")
add_dependencies(crash_process_test crash_subject)
