# tests of store
foreach(part rows schema trouble process)
  refork_test(store_${part}_test
    SOURCES store_${part}_test.cc
    LINK reforkd_store refork_base nlohmann_json::nlohmann_json)
endforeach()
