# tests of domain
add_library(domain_foreign_frames SHARED domain_foreign_frames.cc)
target_link_libraries(domain_foreign_frames PRIVATE refork_warnings)
set_target_properties(domain_foreign_frames PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin/tests)

refork_test(domain_run_test SOURCES domain_run_test.cc LINK refork LABELS lib)
refork_test(domain_bind_test SOURCES domain_bind_test.cc LINK refork LABELS lib)
refork_test(domain_handler_test SOURCES domain_handler_test.cc LINK refork domain_foreign_frames LABELS lib)
refork_test(domain_rethrow_test SOURCES domain_rethrow_test.cc LINK refork LABELS lib)
refork_test(domain_rethrow_static_test SOURCES domain_rethrow_test.cc LINK refork_static LABELS lib)
refork_test(domain_sink_test SOURCES domain_sink_test.cc LINK refork_objects refork_internal LABELS lib)
refork_test(domain_terminate_test SOURCES domain_terminate_test.cc LINK refork_objects refork_internal LABELS lib)
refork_test(domain_stress_test SOURCES domain_stress_test.cc LINK refork LABELS lib TIMEOUT 300)
