# tests of config
refork_test(config_test
  SOURCES
    config_json_test.cc
    config_load_test.cc
    config_options_test.cc
    config_parse_test.cc
    config_schema_test.cc
  LINK reforkd_config refork_base)
target_compile_definitions(config_test PRIVATE REFORK_SOURCE_DIR="${PROJECT_SOURCE_DIR}")

find_program(MANDOC mandoc)
if(MANDOC)
  # Not its style level: that looks for the pages referred to among the installed ones.
  add_test(NAME manual_pages_are_clean
    COMMAND ${MANDOC} -T lint -W warning refork.json.5 reforkctl.1 reforkd.8 refork-symbolizer.8
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}/man)
endif()
