// Programs that do not link librefork: sockets by LISTEN_FDS, ready by READY=1 or by running, drained by
// SIGTERM.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <iterator>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using nlohmann::json;

Daemon unlinked(const std::string& ready, std::vector<std::string> arguments = {},
                std::vector<std::string> options = {}) {
  options.insert(options.begin(), {"--workers", "1", "--ready", ready, "--drain-deadline", "2s"});
  return web_of(unlinked_server(), std::move(options), std::move(arguments));
}

class Unlinked : public testing::TestWithParam<std::string> {
 protected:
  static Daemon start() {
    return GetParam() == "exec" ? unlinked("exec") : unlinked("notify", {"--" + GetParam()});
  }
};

TEST_P(Unlinked, IsDrainedBySigtermAndFinishesItsRequest) {
  Daemon daemon = start();
  const pid_t pid = daemon.pids().at(0);
  EXPECT_EQ(http_get(daemon.address(), "/").body, std::to_string(pid));
  HttpConnection busy(daemon.address());
  ASSERT_TRUE(busy.send_get("/slow"));
  // Its queue was empty, so that this connection is the one it serves.
  EXPECT_EQ(daemon.ctl({"drain", "web/0"}).code, 0);
  EXPECT_EQ(busy.read_answer().status, 200);
  EXPECT_TRUE(wait_until_settled(daemon));
  EXPECT_THAT(daemon.ctl({"why", "web/0"}).out, testing::Not(testing::HasSubstr("0 cut")));
  EXPECT_EQ(http_get(daemon.address(), "/").body, std::to_string(daemon.pids().at(0)));
  EXPECT_EQ(daemon.failures().size(), 0U);
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_EQ(ends[0].outcome, "clean");
  EXPECT_EQ(ends[0].code, 0);
}

INSTANTIATE_TEST_SUITE_P(Ready, Unlinked, testing::Values("exec", "notify", "stopping"),
                         [](const auto& param) { return param.param; });

// Children of a process that are dead and were not reaped.
std::size_t zombies_of(pid_t pid) {
  const std::string task = "/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid);
  std::ifstream children(task + "/children");
  std::size_t count = 0;
  for (pid_t child = 0; children >> child;) {
    std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
    const std::string text(std::istreambuf_iterator<char>(stat), {});
    if (text.find(") Z ") != std::string::npos) ++count;
  }
  return count;
}

TEST(UnlinkedGroup, WhatAWorkerLeavesBehindInItsGroupEndsWithItAndIsReaped) {
  Daemon daemon = web({"--workers", "1", "--ready", "exec"}, {"/bin/sh", "-c", "sleep 300 & exec sleep 300"});
  ASSERT_TRUE(wait_until_settled(daemon));
  const pid_t pid = daemon.pids().at(0);
  EXPECT_EQ(daemon.ctl({"kill", "web/0"}).code, 0);
  EXPECT_TRUE(wait_until_gone(pid));
  EXPECT_TRUE(wait_until([&] { return ::kill(-pid, 0) != 0; })) << "the group is empty";
  EXPECT_TRUE(wait_until([&] { return zombies_of(daemon.pid()) == 0; }));
}

TEST(UnlinkedDeadline, AProgramThatIgnoresSigtermIsKilledByThen) {
  Daemon daemon = unlinked("exec", {"--deaf"});
  const pid_t pid = daemon.pids().at(0);
  EXPECT_EQ(daemon.ctl({"drain", "web/0"}).code, 0);
  EXPECT_TRUE(wait_until_gone(pid));
  const json failures = complete_failures(daemon, 1);
  ASSERT_EQ(failures.size(), 1U) << failures;
  EXPECT_EQ(failures[0]["kind"], "deadline");
  EXPECT_EQ(failures[0]["exit"]["signal"], SIGKILL);
  EXPECT_EQ(failures[0]["drain"]["outcome"], "deadline");
  EXPECT_GE(failures[0]["drain"]["duration_ms"], 1900);
  EXPECT_LE(failures[0]["drain"]["duration_ms"], 2000 + kAfterDeadlineMs);
  EXPECT_TRUE(wait_until_settled(daemon));
}

TEST(UnlinkedCrash, IsReplacedAtOnce) {
  Daemon daemon = unlinked("notify", {"--notify"});
  const pid_t pid = daemon.pids().at(0);
  ASSERT_EQ(::kill(pid, SIGABRT), 0);
  const json failures = complete_failures(daemon, 1);
  ASSERT_EQ(failures.size(), 1U) << failures;
  EXPECT_EQ(failures[0]["kind"], "signal");
  EXPECT_EQ(failures[0]["exit"]["signal"], SIGABRT);
  EXPECT_TRUE(failures[0]["in_flight_at_failure"].is_null()) << "nobody knows its requests";
  EXPECT_TRUE(failures[0]["drain"]["cut"].is_null());
  EXPECT_TRUE(failures[0]["drain"]["crossed"].is_null());
  EXPECT_TRUE(wait_until_settled(daemon));
  EXPECT_EQ(http_get(daemon.address(), "/").status, 200);
}

TEST(UnlinkedStart, WithoutReadyIsABootFailure) {
  const Daemon daemon =
      web({"--workers", "1", "--ready", "notify", "--start-timeout", "200ms"}, {unlinked_server()});
  EXPECT_TRUE(daemon.wait_for_failures(1));
  EXPECT_EQ(daemon.failures()[0]["kind"], "boot");
  EXPECT_TRUE(daemon.failures()[0]["in_flight_at_failure"].is_null());
}

}  // namespace
}  // namespace refork::test
