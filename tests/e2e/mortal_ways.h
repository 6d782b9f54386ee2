#pragma once

#include <array>
#include <string_view>

// Every way for a worker to die, as orders of matrix_test to mortal_worker.
namespace refork::test {

enum class Way {
  exit_0,
  exit_3,
  quick_exit,
  quick_exit_0,
  return_from_main,
  sigkill,
  sigterm,
  sigsegv,
  sigabrt,
  terminate,
  stack_overflow,
  allocation_fails,
  hang,
  channel_closed,
  protocol,
};

inline constexpr std::array<std::string_view, 15> kWays = {
    "exit_0",         "exit_3",           "quick_exit", "quick_exit_0",   "return_from_main",
    "sigkill",        "sigterm",          "sigsegv",    "sigabrt",        "terminate",
    "stack_overflow", "allocation_fails", "hang",       "channel_closed", "protocol"};
static_assert(static_cast<std::size_t>(Way::protocol) + 1 == kWays.size());

inline constexpr int kAccept = 0;  // order: take a connection; n + 1: die of way n

}  // namespace refork::test
