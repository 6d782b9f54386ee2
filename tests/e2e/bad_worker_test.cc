// Workers that do harm, or nothing: it stays with them. (Those that break the protocol or shut the listener
// down: harmless_test; that hang: watch_test; that die in every way: matrix_test.)
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::size_t descriptors(pid_t pid) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& fd :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd"))
    ++count;
  return count;
}

TEST(BadWorker, ThatIsNeverReadyAndIgnoresSigtermIsKilledAtTheDeadlineOfAStop) {
  Daemon daemon =
      web({"--workers", "1", "--drain-deadline", "300ms", "--start-timeout", "60s"}, {odd_worker(), "deaf"});
  ASSERT_TRUE(daemon.wait_for([](const json& service) { return service["workers"].size() == 1; }));
  const pid_t pid = daemon.pids().at(0);
  EXPECT_EQ(daemon.ctl({"stop", "web"}).code, 0);
  EXPECT_TRUE(wait_until_gone(pid));
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 1U);
  EXPECT_EQ(ends[0].signal, SIGKILL);
  EXPECT_EQ(ends[0].requested, "stop");
}

TEST(BadWorker, ThatPutsItselfInTheBackgroundIsAFailedStart) {
  const Daemon daemon = web({"--workers", "1", "--restart-backoff", "60s,60s"}, {odd_worker(), "background"});
  ASSERT_TRUE(daemon.wait_for_failures(1));
  const json failures = daemon.failures();
  EXPECT_EQ(failures[0]["kind"], "boot");
  EXPECT_THAT(failures[0]["message"].get<std::string>(), HasSubstr("exited with code 0 before it was ready"));
  EXPECT_THAT(daemon.ctl({"why", "web/0"}).out, HasSubstr("exited with code 0 before it was ready"));
}

TEST(BadWorker, ThatUsesUpItsDescriptorsUsesUpNobodyElses) {
  Daemon daemon = web_of(odd_worker(), {"--workers", "2", "--limits", "nofile=64"});
  const std::size_t before = descriptors(daemon.pid());
  const pid_t pid = daemon.pids().at(0);
  EXPECT_EQ(daemon.ctl({"send", "web/0", "\"leak\""}).code, 0);
  ASSERT_TRUE(wait_until([&] { return descriptors(pid) == 64; }));
  EXPECT_LE(descriptors(daemon.pid()), before);
  EXPECT_EQ(http_get(daemon.address(), "/").status, 200) << "by the other one";
  EXPECT_EQ(daemon.ctl({"drain", "web/0"}).code, 0);
  EXPECT_TRUE(wait_until_settled(daemon));
  EXPECT_EQ(http_get(daemon.address(), "/").status, 200);
  EXPECT_TRUE(wait_until([&] { return descriptors(daemon.pid()) <= before; }));
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 3U);
  // A sanitizer has no descriptor left to look for leaks with.
  EXPECT_EQ(ends[0].outcome, kSanitized ? "died" : "clean");
}

TEST(BadWorker, ThatFillsItsRecorderWithLiesHarmsNobodyAndHasItsEnd) {
  Daemon daemon = web_of(odd_worker(), {"--workers", "2"});
  const auto before = daemon.pids();
  const auto fds = descriptors(daemon.pid());
  EXPECT_EQ(daemon.ctl({"send", "web/0", "\"lie\""}).code, 0);
  EXPECT_EQ(daemon.ctl({"send", "web/0", "\"exit 42\""}).code, 0);
  EXPECT_TRUE(wait_until_gone(before[0]));
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_EQ(daemon.pids().at(1), before[1]);
  EXPECT_EQ(http_get(daemon.address(), "/").status, 200);
  EXPECT_TRUE(daemon.wait_for_failures(1));
  for (const auto& failure : daemon.failures()) EXPECT_EQ(failure["worker"], 1) << "whatever it says";
  EXPECT_TRUE(wait_until([&] { return descriptors(daemon.pid()) <= fds; }));
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 3U);
  EXPECT_EQ(ends[0].code, 42);
}

}  // namespace
}  // namespace refork::test
