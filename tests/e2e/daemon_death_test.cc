// The death of reforkd costs no request under way and no record, and leaves no process behind for long.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

Daemon fixed_port(const std::string& workers, const std::string& program = "http_threads") {
  return web_of(program, {"--workers", workers, "--listen", free_tcp_address(), "--drain-deadline", "2s",
                          "--lame-duck", "100ms"});
}

TEST(DaemonDeath, WhileAWorkerDrainsCostsNeitherItsRequestNorItsRecords) {
  Daemon daemon = fixed_port("2");
  const Address address = daemon.address();
  HttpConnection busy(address);
  ASSERT_TRUE(busy.send_get("/?delay=1000"));
  std::size_t culprits = 0;
  const auto draining = [&] {
    const json service = daemon.service();
    return std::any_of(service["workers"].begin(), service["workers"].end(), [](const json& worker) {
      return worker["state"] == "draining" && worker["in_flight"] == 1;
    });
  };
  for (int i = 0; i < 10 && !draining(); ++i) culprits += http_get(address, "/error").status == 500 ? 1U : 0U;
  const auto before = daemon.pids();
  daemon.kill();
  EXPECT_EQ(busy.read_answer().status, 200);
  for (const pid_t pid : before) EXPECT_TRUE(wait_until_gone(pid));

  daemon.start();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_EQ(daemon.address().text(), address.text());
  EXPECT_EQ(http_get(address, "/").status, 200);
  EXPECT_TRUE(daemon.wait_for_failures(culprits));
  EXPECT_EQ(daemon.failures().size(), culprits);
}

TEST(DaemonDeath, RightAfterAnAnswerLosesNoRecord) {
  Daemon daemon = fixed_port("4");
  const Address address = daemon.address();
  std::size_t culprits = 0;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 5; ++i) culprits += http_get(address, "/error").status == 500 ? 1U : 0U;
    const auto before = daemon.pids();
    daemon.kill();
    daemon.start();  // at once, while the workers of before still leave
    ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
    EXPECT_EQ(http_get(address, "/").status, 200);
    for (const pid_t pid : before) EXPECT_TRUE(wait_until_gone(pid));
    EXPECT_THAT(daemon.pids(), testing::Each(testing::Not(testing::AnyOfArray(before))));
  }
  EXPECT_EQ(culprits, 15U);
  EXPECT_TRUE(daemon.wait_for_failures(culprits));
  EXPECT_EQ(daemon.failures().size(), culprits);
  EXPECT_GE(ends_after_stop(daemon).size(), 16U);
}

TEST(DaemonDeath, LeavesNoOrphanPastItsDeadline) {
  Daemon daemon = fixed_port("1");
  const pid_t pid = daemon.pids().at(0);
  HttpConnection hangs(daemon.address());
  ASSERT_TRUE(hangs.send_get("/hang"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  const auto killed = Clock::now();
  daemon.kill();
  EXPECT_TRUE(wait_until_gone(pid));
  EXPECT_LE(Clock::now() - killed, 2s + std::chrono::milliseconds(kAfterDeadlineMs));
  EXPECT_TRUE(hangs.wait_closed());
}

TEST(DaemonDeath, AnOrphanThatBlocksItsLoopGivesWayToTheNextDaemonAtItsDeadline) {
  Daemon daemon = fixed_port("1", "http_asio");
  const pid_t pid = daemon.pids().at(0);
  HttpConnection hangs(daemon.address());
  ASSERT_TRUE(hangs.send_get("/hang"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  daemon.kill();
  daemon.start();
  EXPECT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_TRUE(wait_until_gone(pid));
  EXPECT_EQ(http_get(daemon.address(), "/").status, 200);
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_EQ(ends[0].cause, "lost");
  EXPECT_EQ(ends[0].cut, 1U);
}

}  // namespace
}  // namespace refork::test
