// A drain ends by its deadline, whatever the worker does; nothing extends it, and each cut request is named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using nlohmann::json;
using testing::UnorderedElementsAre;

constexpr std::uint64_t kDeadlineMs = 2000;

Daemon one_worker(const std::string& program) {
  return web_of(program, {"--workers", "1", "--drain-deadline", "2s"});
}

void expect_gone_at_deadline(const json& failure) {
  ASSERT_TRUE(failure.is_object() && failure["drain"].is_object()) << failure;
  EXPECT_EQ(failure["drain"]["outcome"], "deadline") << failure;
  EXPECT_GE(failure["drain"]["duration_ms"], kDeadlineMs - 100);
  EXPECT_LE(failure["drain"]["duration_ms"], kDeadlineMs + kAfterDeadlineMs);
}

TEST(Deadline, ASecondErrorInADrainDoesNotExtendIt) {
  Daemon daemon = one_worker("http_threads");
  const Address address = daemon.address();
  HttpConnection hangs(address);
  HttpConnection fails_later(address);
  ASSERT_TRUE(hangs.send_get("/hang"));
  ASSERT_TRUE(fails_later.send_get("/error?delay=1200"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 2));
  EXPECT_EQ(http_get(address, "/error").status, 500);
  const Answer second = fails_later.read_answer();
  EXPECT_EQ(second.status, 500);
  EXPECT_TRUE(second.close);
  EXPECT_TRUE(hangs.wait_closed());

  const json failures = complete_failures(daemon, 2);
  EXPECT_EQ(failures.size(), 2U) << failures;
  for (const auto& failure : failures) {
    EXPECT_EQ(failure["kind"], "exception");
    EXPECT_EQ(failure["drain"]["requested"], "error");
    expect_gone_at_deadline(failure);
    EXPECT_THAT(cut_by(failure), UnorderedElementsAre("GET /hang"));
  }
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_EQ(ends[0].outcome, "deadline");
  EXPECT_EQ(ends[0].cut, 1U);
  EXPECT_EQ(ends[1].requested, "stop");
}

class BlockedLoop : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Servers, BlockedLoop, testing::Values("http_asio", "http_libevent"),
                         [](const auto& tested) { return tested.param; });

TEST_P(BlockedLoop, IsGoneByTheDeadlineAndItsRequestsAreNamed) {
  const Daemon daemon = one_worker(GetParam());
  const pid_t pid = daemon.pids().at(0);
  HttpConnection waits(daemon.address());
  HttpConnection hangs(daemon.address());
  ASSERT_TRUE(waits.send_get("/?delay=60000"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  ASSERT_TRUE(hangs.send_get("/hang"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 2));
  EXPECT_EQ(daemon.ctl({"drain", "web/0"}).code, 0);
  EXPECT_TRUE(wait_until_gone(pid));
  const json failures = complete_failures(daemon, 1);
  ASSERT_EQ(failures.size(), 1U) << failures;
  EXPECT_EQ(failures[0]["kind"], "deadline");
  EXPECT_EQ(failures[0]["drain"]["requested"], "operator");
  expect_gone_at_deadline(failures[0]);
  EXPECT_THAT(cut_by(failures[0]), UnorderedElementsAre("GET /hang", "GET /"));
  EXPECT_EQ(http_get(daemon.address(), "/").status, 200);
}

TEST(Deadline, AStoppedWorkerIsGoneByThenAndItsRequestsAreNamed) {
  const Daemon daemon = one_worker("http_asio");
  const pid_t pid = daemon.pids().at(0);
  HttpConnection waits(daemon.address());
  ASSERT_TRUE(waits.send_get("/?delay=60000"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  EXPECT_EQ(daemon.ctl({"drain", "web/0"}).code, 0);
  EXPECT_TRUE(wait_until_gone(pid));
  const json failures = complete_failures(daemon, 1);
  ASSERT_EQ(failures.size(), 1U) << failures;
  EXPECT_EQ(failures[0]["kind"], "deadline");
  EXPECT_EQ(failures[0]["exit"]["signal"], SIGKILL);
  expect_gone_at_deadline(failures[0]);
  EXPECT_THAT(cut_by(failures[0]), UnorderedElementsAre("GET /"));
}

TEST(Deadline, ACrashDuringADrainIsACrashWithExactlyOneReplacement) {
  Daemon daemon = web_of("http_threads", {"--workers", "1", "--drain-deadline", "20s"});
  const Address address = daemon.address();
  HttpConnection crashes(address);
  HttpConnection hangs(address);
  ASSERT_TRUE(crashes.send_get(kSanitized ? "/crash?delay=4000" : "/crash?delay=1000"));
  ASSERT_TRUE(hangs.send_get("/hang"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 2));
  EXPECT_EQ(http_get(address, "/error").status, 500);
  EXPECT_EQ(crashes.read_answer().status, 0);

  const json failures = complete_failures(daemon, 2);
  ASSERT_EQ(failures.size(), 2U) << failures;
  EXPECT_EQ(failures[0]["kind"], "signal");
  EXPECT_EQ(failures[1]["kind"], "exception");
  for (const auto& failure : failures) {
    EXPECT_EQ(failure["exit"]["signal"], SIGSEGV);
    EXPECT_EQ(failure["drain"]["outcome"], "died");
    EXPECT_THAT(cut_by(failure), UnorderedElementsAre("GET /crash", "GET /hang"));
  }
  EXPECT_TRUE(wait_until_settled(daemon));
  EXPECT_EQ(daemon.service()["restarts"], 1);
  EXPECT_EQ(daemon.service()["workers"][0]["id"], 2);
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_EQ(ends[0].cause, "signal");
  EXPECT_EQ(ends[0].signal, SIGSEGV);
}

}  // namespace
}  // namespace refork::test
