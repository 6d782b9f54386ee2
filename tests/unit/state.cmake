# tests of state, and of a service between two lives
refork_test(state_test SOURCES state_test.cc LINK reforkd_state)
