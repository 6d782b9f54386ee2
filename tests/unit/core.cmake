refork_test(core_test
  SOURCES
    core_crash_test.cc
    core_ends_test.cc
    core_health_test.cc
    core_history_test.cc
    core_orders_test.cc
    core_recycle_test.cc
    core_replacing_test.cc
    core_status_line_test.cc
  LINK reforkd_core)
