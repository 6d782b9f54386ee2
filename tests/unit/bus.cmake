# The Bus, driven by the operator's client and by generic D-Bus clients.
refork_test(bus_test
  SOURCES bus_access_test.cc bus_api_test.cc bus_peer_test.cc bus_server_test.cc
          bus_snapshot_test.cc
  LINK reforkd_bus reforkctl_lib)
