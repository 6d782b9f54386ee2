# tests of supervisor, and of the helper it starts
refork_test(supervisor_test SOURCES supervisor_failures_test.cc supervisor_handover_test.cc supervisor_listeners_test.cc supervisor_manager_test.cc supervisor_symbolizer_test.cc supervisor_watch_test.cc supervisor_crash_test.cc
            LINK reforkd_supervisor test_support LABELS supervisor)
add_dependencies(supervisor_test refork-symbolizer)
refork_test(symbolizer_test SOURCES symbolizer_test.cc LINK refork_symbolizer_lib test_support LABELS symbolizer)
add_dependencies(symbolizer_test refork-symbolizer)
