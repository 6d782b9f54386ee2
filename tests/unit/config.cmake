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
