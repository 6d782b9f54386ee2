// Workers that do harm, or nothing: it stays with them. (Those that break the protocol or shut the listener
// down: harmless_test; that hang: watch_test; that die in every way: matrix_test.)
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <iostream>

#include "e2e/scene.h"
#include "support/cgroup.h"

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
  EXPECT_TRUE(wait_until([&] { return descriptors(daemon.pid()) <= before; }));
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

// ---- what they leave behind, in a session of its own

// A process that the worker in slot 0 has left, out of its group and its session.
pid_t grandchild_of(const Daemon& daemon) {
  const Events events(daemon);
  EXPECT_TRUE(wait_until([&] {  // it may not listen to messages yet
    daemon.ctl({"send", "web/0", "\"are you there\""});
    return events.all().find("are you there") != std::string::npos;
  }));
  EXPECT_EQ(daemon.ctl({"send", "web/0", "\"grandchild\""}).code, 0);
  const auto line = events.line("{\"grandchild\"");
  return line ? json::parse(*line)["message"]["grandchild"].get<pid_t>() : 0;
}

std::vector<std::string> leaves_in(const TestCgroup& cgroup) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(cgroup.directory()))
    if (entry.is_directory()) names.push_back(entry.path().filename());
  return names;
}

bool has_leaves(const TestCgroup& cgroup, std::size_t count) {
  return wait_until([&] { return leaves_in(cgroup).size() == count; });
}

TEST(LeftBehind, WhereCgroupsAreDelegatedEndsWithItsWorker) {
  const TestCgroup cgroup(true);
  Daemon daemon = web_of(odd_worker(), {"--workers", "2"});
  const pid_t pid = daemon.pids().at(0), grandchild = grandchild_of(daemon);
  ASSERT_GT(grandchild, 1);
  ASSERT_EQ(::getsid(grandchild), grandchild);
  if (cgroup.directory().empty()) {
    std::cout << "no cgroup2 that can be divided: what is tested is what happens without\n";
    EXPECT_EQ(daemon.ctl({"drain", "web/0"}).code, 0);
    EXPECT_TRUE(wait_until_gone(pid));
    EXPECT_TRUE(wait_until_settled(daemon));
    EXPECT_EQ(::kill(grandchild, SIGKILL), 0) << "nobody else finds it";
    return;
  }
  EXPECT_EQ(leaves_in(cgroup).size(), 2U);
  daemon.kill();
  EXPECT_EQ(::kill(grandchild, 0), 0) << "with its worker, which does not notice";
  EXPECT_EQ(leaves_in(cgroup).size(), 2U);
  EXPECT_EQ(daemon.pids().at(0), pid);
  EXPECT_EQ(daemon.ctl({"drain", "web/0"}).code, 0);
  EXPECT_TRUE(wait_until_gone(pid));
  EXPECT_TRUE(wait_until_gone(grandchild));
  EXPECT_TRUE(wait_until_settled(daemon));
  EXPECT_TRUE(has_leaves(cgroup, 2)) << testing::PrintToString(leaves_in(cgroup));
  EXPECT_EQ(ends_after_stop(daemon).size(), 3U);
  EXPECT_EQ(leaves_in(cgroup).size(), 0U) << testing::PrintToString(leaves_in(cgroup));
}

TEST(LeftBehind, OfAWorkerThatNobodyKnowsIsEndedByTheNextReforkd) {
  const TestCgroup cgroup(true);
  if (cgroup.directory().empty()) GTEST_SKIP() << "no cgroup2 that can be divided";
  Daemon daemon = web_of(odd_worker(), {"--workers", "1"});
  ASSERT_EQ(leaves_in(cgroup).size(), 1U);
  const std::string known = leaves_in(cgroup)[0];
  Process::Options sleep;
  sleep.argv = {"sleep", "300"};
  const Process stray(sleep);
  const auto leaves = os::LeafCgroups::in(cgroup.directory());
  ASSERT_TRUE(leaves);
  const std::string unknown = known.substr(0, known.find(".web.")) + ".web.7.4711.worker";
  ASSERT_TRUE(leaves->put(unknown, stray.pid()));
  ASSERT_TRUE(leaves->put("somebody.elses", ::getpid())) << "not reforkd's";
  daemon.kill();
  EXPECT_TRUE(wait_until_gone(stray.pid()));
  EXPECT_TRUE(has_leaves(cgroup, 2));
  EXPECT_THAT(leaves_in(cgroup), testing::UnorderedElementsAre(known, "somebody.elses"));
  EXPECT_EQ(http_get(daemon.address(), "/").status, 200);
}

TEST(LeftBehind, WhereTheyAreNotDelegatedNoneAreMade) {
  const TestCgroup cgroup(false);
  Daemon daemon = web_of(odd_worker(), {"--workers", "1"});
  const pid_t pid = daemon.pids().at(0), grandchild = grandchild_of(daemon);
  EXPECT_TRUE(cgroup.directory().empty() || leaves_in(cgroup).empty());
  EXPECT_EQ(daemon.ctl({"drain", "web/0"}).code, 0);
  EXPECT_TRUE(wait_until_gone(pid));
  EXPECT_TRUE(wait_until_settled(daemon));
  EXPECT_EQ(::kill(grandchild, SIGKILL), 0) << "as the manual says";
}

}  // namespace
}  // namespace refork::test
