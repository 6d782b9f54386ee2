# The Bus, driven by the operator's client and by generic D-Bus clients.
refork_test(bus_test
  SOURCES bus_access_test.cc bus_api_test.cc bus_peer_test.cc bus_server_test.cc
          bus_snapshot_test.cc bus_system_test.cc
  LINK reforkd_bus reforkctl_lib)
target_compile_definitions(bus_test PRIVATE
  REFORK_BUS_POLICY="${PROJECT_SOURCE_DIR}/units/org.refork1.conf")
