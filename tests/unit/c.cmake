# tests of the C API
add_executable(c_api_program c_api_test.c c_api_throws.cc)
set_target_properties(c_api_program PROPERTIES C_STANDARD 99 C_EXTENSIONS OFF LINKER_LANGUAGE CXX
                      RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin/tests)
target_include_directories(c_api_program PRIVATE ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(c_api_program PRIVATE refork refork_warnings)
add_test(NAME c_api_program COMMAND c_api_program)
set_tests_properties(c_api_program PROPERTIES TIMEOUT 60 LABELS lib)
add_dependencies(lib_tests c_api_program)

refork_test(c_api_test SOURCES c_api_test.cc LINK LABELS lib)
target_compile_definitions(c_api_test PRIVATE REFORK_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
