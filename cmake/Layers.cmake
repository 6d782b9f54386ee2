# refork_layer(NAME SOURCES ... LINK ...): one folder of the tree as one static library. The folder's sources are
# listed explicitly; what a layer may include is the table in ARCHITECTURE.md, checked by a test.
function(refork_layer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/lib/src ${PROJECT_SOURCE_DIR}/daemon)
  target_link_libraries(${name} PUBLIC ${ARG_LINK} PRIVATE refork_warnings)
endfunction()
