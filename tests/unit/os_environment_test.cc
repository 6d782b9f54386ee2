// What of reforkd's environment goes on to its keeper and its workers.
#include "os/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

namespace refork::os {
namespace {

using ::testing::Contains;
using ::testing::Not;

TEST(Environment, OfAWorkerHasNothingThatReforkdWasTold) {
  for (const char* name : {"LISTEN_FDS",
                           "LISTEN_PID",
                           "LISTEN_FDNAMES",
                           "NOTIFY_SOCKET",
                           "FDSTORE",
                           "WATCHDOG_USEC",
                           "WATCHDOG_PID",
                           "MAINPID",
                           "MANAGERPID",
                           "INVOCATION_ID",
                           "SYSTEMD_EXEC_PID",
                           "CREDENTIALS_DIRECTORY",
                           "STATE_DIRECTORY",
                           "RUNTIME_DIRECTORY",
                           "LOGS_DIRECTORY",
                           "CACHE_DIRECTORY",
                           "CONFIGURATION_DIRECTORY",
                           "REFORK_KEEPER",
                           "REFORK_KEEPS",
                           "REFORK_EXECUTED",
                           "REFORK_CONTROL",
                           "REFORK_NOFILE",
                           "REFORK_CHANNEL",
                           "REFORK_RECORDER"})
    EXPECT_TRUE(is_withheld(name, Receiver::worker)) << name;
  for (const char* name : {"PATH", "HOME", "LANG", "TZ", "JOURNAL_STREAM", "LISTEN", "LISTEN_FDS_X", ""})
    EXPECT_FALSE(is_withheld(name, Receiver::worker)) << name;
}

TEST(Environment, BetweenKeeperAndReforkdIsButForWhatTheyTellAnew) {
  for (const char* name : {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "FDSTORE",
                           "REFORK_KEEPER", "REFORK_KEEPS", "REFORK_EXECUTED"})
    EXPECT_TRUE(is_withheld(name, Receiver::own)) << name;
  for (const char* name : {"REFORK_CONTROL", "REFORK_NOFILE", "STATE_DIRECTORY", "PATH"})
    EXPECT_FALSE(is_withheld(name, Receiver::own)) << name;
}

TEST(Environment, IsPassedWholeButForThat) {
  ASSERT_EQ(::setenv("REFORK_TEST_PASSED", "a=b=c", 1), 0);
  ASSERT_EQ(::setenv("NOTIFY_SOCKET", "/nowhere", 1), 0);
  const auto passed = environment_for(Receiver::worker);
  ::unsetenv("NOTIFY_SOCKET");
  EXPECT_THAT(passed, Contains("REFORK_TEST_PASSED=a=b=c"));
  EXPECT_THAT(passed, Not(Contains("NOTIFY_SOCKET=/nowhere")));
  EXPECT_THAT(environment_for(Receiver::own), Contains("REFORK_TEST_PASSED=a=b=c"));
}

}  // namespace
}  // namespace refork::os
