// What operators, workers and chance do at the wrong moment. All of it is harmless: the service goes on,
// nobody else notices, and each worker has exactly one end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <set>
#include <thread>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

Daemon obedient(const std::string& workers = "1", const std::string& mode = "obey") {
  return web_of(odd_worker(), {"--workers", workers}, {mode});
}

void expect_service(const Daemon& daemon) {
  EXPECT_TRUE(wait_until_settled(daemon)) << daemon.service();
  EXPECT_EQ(http_get(daemon.address(), "/").status, 200);
}

std::vector<std::string> kinds(const json& failures) {
  std::vector<std::string> all;
  for (const auto& failure : failures) all.push_back(failure["kind"].get<std::string>());
  return all;
}

// An order that comes back as a message: until then `events` may not listen yet.
bool listens(const Daemon& daemon, const Events& events, const std::string& service = "web") {
  return wait_until([&] {
    daemon.ctl({"send", service, "\"hello\""});
    return events.all().find("hello") != std::string::npos;
  });
}

// ---- drains

class Drained : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Servers, Drained, testing::Values("http_asio", "http_libevent"),
                         [](const auto& tested) { return tested.param; });

TEST_P(Drained, ASecondTimeIsHarmless) {
  Daemon daemon = web_of(GetParam(), {"--workers", "2"});
  HttpConnection busy(daemon.address());
  ASSERT_TRUE(busy.send_get("/?delay=1500"));
  ASSERT_TRUE(daemon.wait_for([](const json& service) {
    return service["workers"][0]["in_flight"] == 1 || service["workers"][1]["in_flight"] == 1;
  }));
  const std::string id = daemon.service()["workers"][0]["in_flight"] == 1 ? "1" : "2";
  for (int i = 0; i < 5; ++i) EXPECT_EQ(daemon.ctl({"--no-block", "drain", id}).code, 0);
  EXPECT_EQ(busy.read_answer().status, 200);
  expect_service(daemon);
  EXPECT_EQ(daemon.service()["restarts"], 1);
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 3U);
  EXPECT_EQ(ends[id == "1" ? 0 : 1].requested, "operator");
  EXPECT_EQ(ends[id == "1" ? 0 : 1].outcome, "clean");
}

TEST(Harmless, TheDrainOfAnIdleWorker) {
  Daemon daemon = obedient();
  EXPECT_EQ(daemon.ctl({"drain", "web/0"}).code, 0);
  expect_service(daemon);
  EXPECT_EQ(daemon.failures().size(), 0U);
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_EQ(ends[0].outcome, "clean");
  EXPECT_EQ(ends[0].code, 0);
}

TEST(Harmless, ADrainWithNoWorkerLeft) {
  Daemon daemon = obedient();
  EXPECT_EQ(daemon.ctl({"stop", "web"}).code, 0);
  const auto drained = daemon.ctl({"drain", "web/0"});
  EXPECT_EQ(drained.code, 1);
  EXPECT_THAT(drained.err, HasSubstr("no worker in web/0"));
  EXPECT_EQ(daemon.ctl({"stop", "web"}).code, 0) << "what is asked for is so already";
  EXPECT_EQ(daemon.ctl({"status", "web"}).code, 3);
  EXPECT_EQ(daemon.ctl({"start", "web"}).code, 0);
  expect_service(daemon);
  EXPECT_EQ(ends_after_stop(daemon).size(), 2U);
}

TEST(Harmless, ADrainRightAfterTheStart) {
  Daemon daemon = obedient("4");
  const auto restarted = daemon.ctl({"--no-block", "restart", "web"});
  EXPECT_EQ(restarted.code, 0) << restarted.err;
  EXPECT_EQ(daemon.ctl({"stop", "web"}).code, 0);
  EXPECT_TRUE(daemon.wait_for_state("stopped"));
  EXPECT_EQ(daemon.ctl({"start", "web"}).code, 0);
  expect_service(daemon);
  EXPECT_EQ(daemon.failures().size(), 0U);
}

TEST(Harmless, ManyOrdersAtOnceEndEachWorkerOnce) {
  Daemon daemon = obedient("4");
  std::vector<std::thread> operators;
  for (int i = 0; i < 4; ++i)
    operators.emplace_back([&daemon, i] {
      const std::string slot = "web/" + std::to_string(i);
      for (const char* verb : {"drain", "kill", "drain"}) daemon.ctl({"--no-block", verb, slot});
      daemon.ctl({"--no-block", "reload", "web"});
    });
  for (auto& one : operators) one.join();
  expect_service(daemon);
  EXPECT_EQ(daemon.failures().size(), 0U);
  const auto started = daemon.service()["workers"].back()["id"].get<std::uint64_t>();
  std::set<std::uint64_t> ended;
  std::uint64_t highest = started;
  for (const auto& end : ends_after_stop(daemon)) {
    EXPECT_TRUE(ended.insert(end.worker).second);
    highest = std::max(highest, end.worker);
  }
  EXPECT_EQ(ended.size(), highest) << "ids are given one after the other";
}

TEST(Harmless, AnExitRightAfterItWasAnnounced) {
  Daemon daemon = obedient();
  const pid_t pid = daemon.pids().at(0);
  EXPECT_EQ(daemon.ctl({"send", "web/0", "\"announce and exit\""}).code, 0);
  EXPECT_TRUE(wait_until_gone(pid));
  expect_service(daemon);
  EXPECT_EQ(daemon.failures().size(), 0U);
  EXPECT_EQ(daemon.service()["restarts"], 1);
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_EQ(ends[0].requested, "operator");
  EXPECT_EQ(ends[0].outcome, "clean");
}

TEST(Harmless, AGrandchildThatHoldsEveryDescriptor) {
  Daemon daemon = obedient();
  const Events events(daemon);
  ASSERT_TRUE(listens(daemon, events));
  EXPECT_EQ(daemon.ctl({"send", "web/0", "\"grandchild\""}).code, 0);
  const auto line = events.line("{\"grandchild\"");
  ASSERT_TRUE(line);
  const pid_t grandchild = json::parse(*line)["message"]["grandchild"].get<pid_t>();
  const pid_t pid = daemon.pids().at(0);
  EXPECT_EQ(daemon.ctl({"drain", "web/0"}).code, 0) << "its end is the process's, not the channel's";
  EXPECT_TRUE(wait_until_gone(pid));
  expect_service(daemon);
  EXPECT_EQ(::kill(grandchild, 0), 0);
  const auto ends = ends_after_stop(daemon);
  ::kill(grandchild, SIGKILL);
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_EQ(ends[0].outcome, "clean");
}

// ---- messages

TEST(Harmless, AMessageToADeadWorker) {
  Daemon daemon = obedient();
  const pid_t pid = daemon.pids().at(0);
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  // Dead already, and perhaps not yet known to be: sent or refused, either is fine.
  const auto at_once = daemon.ctl({"send", "1", "\"are you there\""});
  EXPECT_TRUE(at_once.code == 0 || at_once.code == 1) << at_once.err;
  EXPECT_TRUE(wait_until_gone(pid));
  expect_service(daemon);
  const auto later = daemon.ctl({"send", "1", "\"are you there\""});
  EXPECT_EQ(later.code, 1);
  EXPECT_THAT(later.err, HasSubstr("no worker 1"));
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_EQ(ends[0].cause, "signal");
  EXPECT_EQ(ends[0].signal, SIGKILL);
}

TEST(Harmless, MessagesBeforeAnybodyListens) {
  const json config = {
      {"services",
       {{"web",
         {{"command", {odd_worker(), "early"}}, {"start_timeout", "60s"}, {"listen", {"tcp://127.0.0.1:0"}}}},
        {"other", {{"command", {odd_worker(), "obey"}}, {"listen", {"tcp://127.0.0.1:0"}}}}}}};
  Daemon daemon = Daemon::with_config(config.dump());
  const Events events(daemon);
  ASSERT_TRUE(listens(daemon, events, "other"));
  EXPECT_EQ(daemon.ctl({"send", "web/0", "\"the second word\""}).code, 0);
  ASSERT_EQ(::kill(daemon.pids().at(0), SIGUSR1), 0);
  EXPECT_TRUE(events.wait_for("the second word")) << "kept until it was listened for";
  EXPECT_EQ(daemon.ctl({"--no-block", "drain", "web/0"}).code, 0);
  EXPECT_TRUE(events.wait_for("the first word")) << "said before it was ready";
}

TEST(Harmless, AMessageLargerThanTheLimit) {
  Daemon daemon = obedient();
  const Events events(daemon);
  const auto refused = daemon.ctl({"send", "web/0", '"' + std::string(60 * 1024 - 1, 'x') + '"'});
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.err, "");
  EXPECT_EQ(daemon.ctl({"send", "web/0", '"' + std::string(60 * 1024 - 2, 'x') + '"'}).code, 0);
  ASSERT_TRUE(listens(daemon, events));
  EXPECT_EQ(daemon.ctl({"send", "web/0", "\"send too much\""}).code, 0);
  EXPECT_TRUE(events.wait_for("only what fits"));
  expect_service(daemon);
  EXPECT_EQ(daemon.failures().size(), 0U);
  EXPECT_EQ(ends_after_stop(daemon).size(), 1U);
}

// ---- workers that break the protocol

class Violation : public testing::TestWithParam<std::string> {};

TEST_P(Violation, CostsTheWorkerItsPlaceAndNobodyElseNotices) {
  Daemon daemon = obedient("2", GetParam());
  const auto before = daemon.pids();
  EXPECT_EQ(daemon.ctl({"send", "web/0", "\"now\""}).code, 0);
  EXPECT_TRUE(wait_until_gone(before[0]));
  EXPECT_TRUE(wait_until_settled(daemon));
  EXPECT_EQ(daemon.pids().at(1), before[1]);
  EXPECT_NE(daemon.pids().at(0), before[0]);
  const json failures = complete_failures(daemon, 1);
  EXPECT_THAT(kinds(failures), testing::ElementsAre("protocol")) << failures;
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 3U);
  EXPECT_EQ(ends[0].requested, "error");
  EXPECT_EQ(ends[0].signal, SIGTERM);
}

INSTANTIATE_TEST_SUITE_P(Of, Violation,
                         testing::Values("garbage", "nothing", "wrong-direction", "second-ready", "too-large",
                                         "descriptor", "flood", "hang-up"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Harmless, AWorkerThatShutsTheListenerDown) {
  Daemon daemon = obedient("2");
  const Address address = daemon.address();
  const auto before = daemon.pids();
  EXPECT_EQ(daemon.ctl({"send", "web/0", "\"shutdown\""}).code, 0);
  for (const pid_t pid : before) EXPECT_TRUE(wait_until_gone(pid));
  expect_service(daemon);
  EXPECT_EQ(daemon.address().text(), address.text());
  EXPECT_THAT(daemon.log(), HasSubstr("was shut down, as it seems by"));
  EXPECT_EQ(ends_after_stop(daemon).size(), 4U);
}

TEST(Harmless, TheOneWorkerThatShutItsListenerDownIsNamed) {
  Daemon daemon = obedient("1");
  EXPECT_EQ(daemon.ctl({"send", "web/0", "\"shutdown\""}).code, 0);
  EXPECT_TRUE(daemon.wait_for_failures(1));
  expect_service(daemon);
  const json failures = complete_failures(daemon, 1);
  EXPECT_THAT(kinds(failures), testing::ElementsAre("protocol"));
  EXPECT_EQ(failures[0]["worker"], 1);
  EXPECT_THAT(failures[0]["message"].get<std::string>(), HasSubstr("shut down the listener"));
}

TEST(Harmless, AnExitOutOfTheBlue) {
  Daemon daemon = obedient();
  EXPECT_EQ(daemon.ctl({"send", "web/0", "\"exit 42\""}).code, 0);
  const json failures = complete_failures(daemon, 1);
  EXPECT_THAT(kinds(failures), testing::ElementsAre("exit"));
  EXPECT_EQ(failures[0]["exit"]["code"], 42);
  expect_service(daemon);
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_EQ(ends[0].requested, "");
  EXPECT_EQ(ends[0].code, 42);
}

TEST(Harmless, AThrowOutOfNoexceptIsOneFailureWithItsDomainAndRequest) {
  Daemon daemon = obedient();
  daemon.ctl({"send", "web/0", "\"terminate\""});
  const json failures = complete_failures(daemon, 1);
  EXPECT_THAT(kinds(failures), testing::ElementsAre("terminate"));
  EXPECT_EQ(failures[0]["message"], "no way out");
  EXPECT_EQ(failures[0]["domain"], "request");
  EXPECT_EQ(failures[0]["request"]["label"], "GET /noexcept");
  EXPECT_EQ(failures[0]["exit"]["signal"], SIGABRT);
  expect_service(daemon);
  EXPECT_EQ(daemon.service()["restarts"], 1);
  EXPECT_EQ(daemon.failures().size(), 1U);
}

// ---- workers that do not boot

TEST(Harmless, AWorkerThatIsNeverReadyIsStartedAgainEverLater) {
  Daemon daemon = web({"--workers", "1", "--start-timeout", "200ms", "--restart-backoff", "200ms,1s"},
                      {odd_worker(), "mute"});
  EXPECT_TRUE(
      daemon.wait_for([](const json& service) { return service["workers"][0]["state"] == "backoff"; }));
  EXPECT_TRUE(daemon.wait_for_failures(2));
  for (const auto& failure : daemon.failures()) {
    EXPECT_EQ(failure["kind"], "boot");
    EXPECT_THAT(failure["message"].get<std::string>(), HasSubstr("not ready within 200 ms"));
  }
  EXPECT_EQ(daemon.service()["state"].get<std::string>() == "running", false);
  const auto ends = ends_after_stop(daemon);
  EXPECT_GE(ends.size(), 2U);
  EXPECT_EQ(ends[0].cause, "boot");
  EXPECT_EQ(ends[0].signal, SIGKILL);
}

TEST(Harmless, AProgramThatIsMissingHasOneEndForEachStartAndServesWhenItIsThereAgain) {
  const TempDir programs;
  const std::string program = programs.file("server");
  std::filesystem::create_symlink(built_program("examples/http_asio"), program);
  Daemon daemon = web_of(program, {"--workers", "1", "--restart-backoff", "100ms,200ms"});
  std::filesystem::rename(program, program + ".away");
  EXPECT_EQ(daemon.ctl({"kill", "web/0"}).code, 0);
  EXPECT_TRUE(daemon.wait_for_failures(2));
  EXPECT_TRUE(
      daemon.wait_for([](const json& service) { return service["workers"][0]["state"] == "backoff"; }));
  EXPECT_THAT(daemon.service()["why"].get<std::string>(), HasSubstr(program));
  const auto started = daemon.ctl({"start", "web"});
  EXPECT_EQ(started.code, 1);
  EXPECT_THAT(started.err, HasSubstr("failed to start"));
  std::filesystem::rename(program + ".away", program);
  expect_service(daemon);
  const json failures = daemon.failures();
  EXPECT_THAT(kinds(failures), testing::Each("boot"));
  const auto ends = ends_after_stop(daemon);
  EXPECT_EQ(ends.size(), failures.size() + 2) << "the killed one, each that did not boot, the last";
  EXPECT_EQ(ends[0].cause, "killed");
  EXPECT_EQ(ends[1].cause, "boot");
}

}  // namespace
}  // namespace refork::test
