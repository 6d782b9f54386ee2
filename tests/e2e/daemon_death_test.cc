// The death of reforkd is noticed by nobody: its keeper starts the next one, which goes on with the same
// workers, sockets and records. Where nobody can come back the workers finish what they have, and leave.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <set>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

Daemon quick(const std::string& workers, std::vector<std::string> options = {},
             const std::string& program = "http_threads") {
  options.insert(options.end(), {"--workers", workers, "--drain-deadline", "2s", "--lame-duck", "100ms"});
  return web_of(program, std::move(options));
}

TEST(DaemonDeath, LeavesItsWorkersWhatTheyAre) {
  Daemon daemon = quick("2");
  const json before = daemon.service();
  const std::string address = daemon.address().text();
  daemon.kill();
  const json after = daemon.service();
  EXPECT_EQ(daemon.address().text(), address);
  for (const std::size_t i : {0U, 1U})
    for (const char* field : {"id", "slot", "pid", "state", "generation"})
      EXPECT_EQ(after["workers"][i][field], before["workers"][i][field]) << field;
  EXPECT_EQ(after["state"], "running");
  EXPECT_EQ(http_get(daemon.address(), "/error").status, 500);
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_EQ(daemon.service()["workers"].size(), 2U);
  EXPECT_TRUE(daemon.wait_for_failures(1));
}

TEST(DaemonDeath, WhileAWorkerDrainsCostsNeitherItsRequestNorItsRecords) {
  Daemon daemon =
      web_of("http_threads", {"--workers", "2", "--drain-deadline", "20s", "--lame-duck", "100ms"});
  const Address address = daemon.address();
  HttpConnection busy(address);
  ASSERT_TRUE(busy.send_get(kSanitized ? "/?delay=5000" : "/?delay=1500"));
  std::size_t culprits = 0;
  const auto draining = [&] {
    const json service = daemon.service();
    return std::any_of(service["workers"].begin(), service["workers"].end(), [](const json& worker) {
      return worker["state"] == "draining" && worker["in_flight"] == 1;
    });
  };
  for (int i = 0; i < 10 && !draining(); ++i) culprits += http_get(address, "/error").status == 500 ? 1U : 0U;
  daemon.kill();
  EXPECT_TRUE(draining()) << daemon.service();
  EXPECT_EQ(busy.read_answer().status, 200);
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  const json failures = complete_failures(daemon, culprits);
  EXPECT_EQ(failures.size(), culprits);
  for (const auto& failure : failures) EXPECT_EQ(failure["drain"]["outcome"], "clean") << failure;
}

TEST(DaemonDeath, RightAfterAnAnswerLosesNoRecord) {
  Daemon daemon = quick("4");
  std::size_t culprits = 0;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 5; ++i) culprits += http_get(daemon.address(), "/error").status == 500 ? 1U : 0U;
    daemon.kill();
    ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
    EXPECT_EQ(http_get(daemon.address(), "/").status, 200);
  }
  EXPECT_EQ(culprits, 15U);
  EXPECT_EQ(complete_failures(daemon, culprits).size(), culprits);
  const auto ends = ends_after_stop(daemon);
  std::set<std::uint64_t> workers;
  for (const auto& end : ends) {
    EXPECT_TRUE(workers.insert(end.worker).second);
    EXPECT_EQ(end.outcome, "clean") << end.worker << " " << end.cause;
  }
}

TEST(DaemonDeath, ADeadlineGoesOnWhereItWas) {
  Daemon daemon = quick("1");
  HttpConnection hangs(daemon.address());
  ASSERT_TRUE(hangs.send_get("/hang"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  const auto began = Clock::now();
  ASSERT_EQ(http_get(daemon.address(), "/error").status, 500);
  daemon.kill();
  EXPECT_TRUE(hangs.wait_closed());
  EXPECT_LE(Clock::now() - began, 2s + std::chrono::milliseconds(kAfterDeadlineMs));
  const json failure = complete_failures(daemon, 1)[0];
  EXPECT_EQ(failure["drain"]["outcome"], "deadline");
  EXPECT_THAT(cut_by(failure), testing::ElementsAre("GET /hang"));
}

TEST(DaemonDeath, WhatAnOperatorHasChangedStays) {
  Daemon daemon = quick("2");
  ASSERT_EQ(daemon.ctl({"scale", "web", "3"}).code, 0);
  ASSERT_EQ(daemon.ctl({"reload", "web"}).code, 0);
  ASSERT_TRUE(wait_until_settled(daemon));
  const auto pids = daemon.pids();
  daemon.kill();
  EXPECT_EQ(daemon.service()["generation"], 2);
  EXPECT_EQ(daemon.pids(), pids);
  ASSERT_EQ(daemon.ctl({"stop", "web"}).code, 0);
  daemon.kill();
  EXPECT_EQ(daemon.service()["state"], "stopped");
  EXPECT_THAT(daemon.pids(), testing::IsEmpty());
}

TEST(DaemonDeath, AStopThatWasUnderWayGoesOn) {
  Daemon daemon = quick("1");
  HttpConnection busy(daemon.address());
  ASSERT_TRUE(busy.send_get("/?delay=1000"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  const pid_t before = daemon.pid();
  daemon.process().signal(SIGTERM);
  ASSERT_TRUE(daemon.wait_for_state("stopping"));
  ASSERT_EQ(::kill(before, SIGKILL), 0);
  EXPECT_EQ(busy.read_answer().status, 200);
  const auto exit = daemon.process().wait();
  ASSERT_TRUE(exit) << daemon.log();
  EXPECT_EQ(exit->code, 0);
}

// ---- nobody comes back

TEST(DaemonDeath, WithItsKeeperLeavesNoWorkerPastItsDeadline) {
  Daemon daemon = quick("1");
  const pid_t pid = daemon.pids().at(0);
  HttpConnection hangs(daemon.address());
  ASSERT_TRUE(hangs.send_get("/hang"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  const auto killed = Clock::now();
  daemon.kill_with_keeper();
  EXPECT_TRUE(wait_until_gone(pid));
  EXPECT_LE(Clock::now() - killed, 2s + std::chrono::milliseconds(kAfterDeadlineMs));
  EXPECT_TRUE(hangs.wait_closed());
  daemon.start();
  EXPECT_TRUE(wait_until_settled(daemon)) << daemon.log();
}

TEST(DaemonDeath, WithoutAKeeperLetsTheWorkersFinish) {
  Daemon daemon = quick("1", {"--no-keeper"});
  EXPECT_EQ(daemon.pid(), daemon.process().pid());
  const pid_t pid = daemon.pids().at(0);
  HttpConnection busy(daemon.address());
  ASSERT_TRUE(busy.send_get("/?delay=1500"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  ASSERT_EQ(::kill(daemon.process().pid(), SIGKILL), 0);
  ASSERT_TRUE(daemon.process().wait());
  EXPECT_EQ(busy.read_answer().status, 200);
  EXPECT_TRUE(wait_until_gone(pid));
}

TEST(DaemonDeath, WithItsKeeperLeavesOrphansThatServeServing) {
  Daemon daemon = quick("1", {"--orphans", "serve"});
  const Address address = daemon.address();
  const pid_t pid = daemon.pids().at(0);
  EXPECT_EQ(http_get(address, "/").status, 200);
  daemon.kill_with_keeper();
  ASSERT_TRUE(wait_until([&] { return daemon.log().find("serves on alone") != std::string::npos; }));
  EXPECT_EQ(http_get(address, "/").status, 200);
  // Nobody comes back to it, or takes its address.
  const TempDir directory;
  const auto second =
      reforkd({"run", "--control", directory.file("control"), "--state-dir", directory.file("state"),
               "--listen", address.text(), "--", built_program("examples/http_threads")});
  EXPECT_EQ(second.code, 1);
  EXPECT_THAT(second.err, testing::HasSubstr(address.text() + ": the port is taken"));
  ASSERT_EQ(::kill(pid, SIGTERM), 0);
  EXPECT_TRUE(wait_until_gone(pid));
  EXPECT_EQ(http_get(address, "/").error, "refused");
}

TEST(DaemonDeath, BeforeItsNewKeeperHasLookedLeavesNoneThatStartsAnother) {
  const TempDir dir;
  Process::Options options;
  options.argv = {built_program("reforkd"),
                  "--keeper",
                  "run",
                  "--control",
                  dir.file("control"),
                  "--state-dir",
                  dir.file("state"),
                  "--",
                  built_program("examples/http_threads")};
  options.environment = {"REFORK_KEEPS=1"};  // which is not its parent
  Process keeper(std::move(options));
  const auto exit = keeper.wait();
  ASSERT_TRUE(exit) << keeper.errors();
  EXPECT_EQ(exit->code, 1);
  EXPECT_THAT(keeper.errors(), testing::HasSubstr("is gone"));
}

}  // namespace
}  // namespace refork::test
