# Stacks with names, through the real reforkd and its helper: a program built in several ways.
function(symbol_subject name)
  cmake_parse_arguments(ARG "" "LIBRARY" "OPTIONS" ${ARGN})
  add_executable(${name} ${CMAKE_CURRENT_LIST_DIR}/symbol_subject.cc)
  target_compile_options(${name} PRIVATE -g ${ARG_OPTIONS})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARY} refork_warnings)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin/tests)
endfunction()
symbol_subject(symbol_subject_shared_O0 LIBRARY refork::refork OPTIONS -O0)
symbol_subject(symbol_subject_shared_O2 LIBRARY refork::refork OPTIONS -O2)
symbol_subject(symbol_subject_static_O0 LIBRARY refork::refork_static OPTIONS -O0)
symbol_subject(symbol_subject_static_O2 LIBRARY refork::refork_static OPTIONS -O2)
symbol_subject(symbol_subject_changed_O2 LIBRARY refork::refork_static OPTIONS -O2 -DSUBJECT_CHANGED)

refork_test(symbols_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/symbols_test.cc
            LINK daemon_support LABELS integration TIMEOUT 120)
target_compile_definitions(symbols_test PRIVATE
  BUILD_DIRECTORY="${CMAKE_BINARY_DIR}"
  SYMBOL_SUBJECT_SOURCE="${CMAKE_CURRENT_LIST_DIR}/symbol_subject.cc"
  INSTALLED_SYMBOLIZER="${CMAKE_INSTALL_FULL_LIBEXECDIR}/refork/refork-symbolizer")
add_dependencies(symbols_test symbol_subject_shared_O0 symbol_subject_shared_O2 symbol_subject_static_O0
                 symbol_subject_static_O2 symbol_subject_changed_O2)
