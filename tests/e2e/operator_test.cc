// reforkctl and a live reforkd: each command does what it says, in text and in JSON, and its exit code tells.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <sstream>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

class Operator : public testing::Test {
 protected:
  void expect_done(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "--json");
    const auto ran = daemon_.ctl(arguments);
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_THAT(json::parse(ran.out, nullptr, false).dump(), HasSubstr("done"));
  }

  Daemon daemon_ = web_of("http_asio", {"--workers", "2", "--reload-probation", "50ms"}, {"--show-query"});
};

TEST_F(Operator, SeesTheStatusOfDaemonServicesAndWorkers) {
  const json status = daemon_.status();
  EXPECT_EQ(status["daemon"]["pid"], daemon_.pid());
  EXPECT_EQ(status["daemon"]["store"]["state"], "ok");
  const json& service = status["services"][0];
  EXPECT_EQ(service["name"], "web");
  EXPECT_EQ(service["state"], "running");
  EXPECT_EQ(service["workers"].size(), 2U);
  for (const char* field : {"id", "slot", "pid", "state", "generation", "in_flight", "served", "tainted"})
    EXPECT_TRUE(service["workers"][0].contains(field)) << field;
  const auto text = daemon_.ctl({"status"});
  EXPECT_THAT(text.out,
              AllOf(HasSubstr("web"), HasSubstr("running"), HasSubstr(std::to_string(daemon_.pids()[1]))));
  EXPECT_EQ(daemon_.ctl({"status", "nothing"}).code, 1);
}

TEST_F(Operator, SeesAFailureInFullAndClearsTheRecords) {
  EXPECT_EQ(http_get(daemon_.address(), "/error?user=7").status, 500);
  const json failures = complete_failures(daemon_, 1);
  ASSERT_EQ(failures.size(), 1U);
  const json& failure = failures[0];
  EXPECT_EQ(failure["type"], "std::runtime_error");
  EXPECT_EQ(failure["message"], "this request was asked to fail");
  EXPECT_EQ(failure["domain"], "http");
  EXPECT_EQ(failure["thrown"], true);
  EXPECT_EQ(failure["request"]["label"], "GET /error?user=7");
  EXPECT_GT(failure["stack"].size(), 0U);
  const std::string id = failure["id"];
  EXPECT_EQ(daemon_.json({"failures", "show", id})["id"], id);
  EXPECT_THAT(daemon_.ctl({"failures", "show", id}).out, HasSubstr("this request was asked to fail"));
  EXPECT_THAT(daemon_.ctl({"failures"}).out, HasSubstr("runtime_error"));
  EXPECT_EQ(daemon_.json({"failures", "--kind", "signal"}).size(), 0U);
  EXPECT_EQ(daemon_.ctl({"failures", "show", "no-such-id"}).code, 1);
  EXPECT_EQ(daemon_.json({"failures", "clear"})["removed"], 1);
  EXPECT_EQ(daemon_.failures().size(), 0U);
}

TEST_F(Operator, StopsStartsAndRestarts) {
  const auto before = daemon_.pids();
  expect_done({"stop", "web"});
  EXPECT_EQ(daemon_.service()["state"], "stopped");
  EXPECT_EQ(daemon_.ctl({"status", "web"}).code, 3);
  for (const pid_t pid : before) EXPECT_TRUE(wait_until_gone(pid));
  HttpConnection queued(daemon_.address());  // the socket stays open: a connection waits
  EXPECT_TRUE(queued.send_get("/"));
  expect_done({"start", "web"});
  EXPECT_EQ(queued.read_answer().status, 200);
  const auto between = daemon_.pids();
  expect_done({"restart", "web"});
  EXPECT_THAT(daemon_.pids(), testing::Each(testing::Not(testing::AnyOfArray(between))));
  EXPECT_EQ(daemon_.failures().size(), 0U);
}

TEST_F(Operator, Reloads) {
  const auto before = daemon_.pids();
  expect_done({"reload", "web"});
  EXPECT_EQ(daemon_.service()["generation"], 2);
  EXPECT_TRUE(wait_until_settled(daemon_));
  EXPECT_THAT(daemon_.pids(), testing::Each(testing::Not(testing::AnyOfArray(before))));
}

TEST_F(Operator, Scales) {
  expect_done({"scale", "web", "4"});
  EXPECT_EQ(daemon_.pids().size(), 4U);
  expect_done({"scale", "web", "1"});
  EXPECT_TRUE(wait_until_settled(daemon_));
  EXPECT_EQ(daemon_.pids().size(), 1U);
  EXPECT_EQ(daemon_.ctl({"scale", "web", "0"}).code, 1);
  EXPECT_EQ(daemon_.failures().size(), 0U);
}

TEST_F(Operator, DrainsAndKillsOneWorker) {
  const auto before = daemon_.pids();
  expect_done({"drain", "web/0"});
  EXPECT_TRUE(wait_until_gone(before[0]));
  expect_done({"kill", "2"});
  EXPECT_TRUE(wait_until_gone(before[1]));
  EXPECT_TRUE(wait_until_settled(daemon_));
  EXPECT_EQ(daemon_.failures().size(), 0U) << "what an operator asks for is no failure";
  EXPECT_THAT(daemon_.ctl({"drain", "web/7"}).err, HasSubstr("it has 0 to 1"));
  EXPECT_THAT(daemon_.ctl({"kill", "99"}).err, HasSubstr("no worker 99"));
  const auto ends = ends_after_stop(daemon_);
  ASSERT_EQ(ends.size(), 4U);
  EXPECT_EQ(ends[0].requested, "operator");
  EXPECT_EQ(ends[1].cause, "killed");
}

TEST_F(Operator, FollowsEvents) {
  Process::Options options;
  options.argv = {built_program("reforkctl"), "--control", daemon_.control(), "--json", "events"};
  const Process events(std::move(options));
  // The first errors may come before `events` listens.
  ASSERT_TRUE(wait_until([&] {
    http_get(daemon_.address(), "/error");
    return events.output().find("worker-ended") != std::string::npos;
  }));
  for (const char* type : {"failure", "worker-started", "worker-ready", "worker-draining"})
    EXPECT_TRUE(events.wait_for_line(std::string("\"type\":\"") + type + '"')) << type;
}

TEST_F(Operator, FollowsEventsAcrossTheDeathAndTheReexecutionOfReforkd) {
  Process::Options options;
  options.argv = {built_program("reforkctl"), "--control", daemon_.control(), "--json", "events"};
  const Process events(std::move(options));
  const auto back = [&events] {
    const std::string text = events.errors();
    std::size_t count = 0;
    for (auto at = text.find("reforkd is back"); at != text.npos; at = text.find("reforkd is back", at + 1))
      ++count;
    return count;
  };
  const auto heard_again = [&] {
    const std::size_t before = events.output().size();
    return wait_until([&] {
      http_get(daemon_.address(), "/error");
      return events.output().find("worker-ended", before) != std::string::npos;
    });
  };
  ASSERT_TRUE(heard_again());
  daemon_.kill();
  ASSERT_TRUE(wait_until([&] { return back() == 1; })) << events.errors();
  EXPECT_TRUE(heard_again());
  EXPECT_EQ(daemon_.ctl({"daemon-reexec"}).code, 0);
  ASSERT_TRUE(wait_until([&] { return back() == 2; })) << events.errors();
  EXPECT_TRUE(heard_again());
}

TEST_F(Operator, IsToldWhenNotConnectedOrWrong) {
  EXPECT_EQ(daemon_.ctl({"nonsense"}).code, 2);
  EXPECT_EQ(daemon_.ctl({"send", "web", "no json"}).code, 2);
  EXPECT_EQ(daemon_.ctl({"stop", "nothing"}).code, 1);
  EXPECT_THAT(daemon_.ctl({"stop", "nothing"}).err, HasSubstr("web"));
}

TEST_F(Operator, HearsTheEventsOfAWorkersLifeInOrder) {
  const Events events(daemon_);
  ASSERT_TRUE(wait_until([&] {  // the first drain may come before `events` listens
    daemon_.ctl({"drain", "web/0"});
    return events.all().find("worker-ended") != std::string::npos;
  }));
  // The worker there now may have started before; its successor is heard from its beginning.
  EXPECT_EQ(daemon_.ctl({"drain", "web/0"}).code, 0);
  ASSERT_TRUE(wait_until_settled(daemon_));
  const std::uint64_t worker = daemon_.service()["workers"][0]["id"];
  EXPECT_EQ(daemon_.ctl({"drain", "web/0"}).code, 0);
  const auto types_of = [&events](std::uint64_t id) {
    std::vector<std::string> types;
    std::istringstream lines(events.all());
    for (std::string line; std::getline(lines, line);) {
      const json event = json::parse(line, nullptr, false);
      if (event.is_object() && event["worker"] == id) types.push_back(event["type"].get<std::string>());
    }
    return types;
  };
  EXPECT_TRUE(wait_until([&] { return types_of(worker).size() == 5; }));
  EXPECT_THAT(types_of(worker), testing::ElementsAre("worker-started", "worker-ready", "operator",
                                                     "worker-draining", "worker-ended"));
}

TEST_F(Operator, AWorkersIdIsNeverReused) {
  EXPECT_EQ(daemon_.service()["workers"][0]["id"], 1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(daemon_.ctl({"restart", "web"}).code, 0);
  EXPECT_TRUE(wait_until_settled(daemon_));
  const std::uint64_t last = daemon_.service()["workers"][1]["id"];
  EXPECT_EQ(last, 8U);
  ASSERT_TRUE(daemon_.stop());
  daemon_.start();
  ASSERT_TRUE(wait_until_settled(daemon_));
  EXPECT_GT(daemon_.service()["workers"][0]["id"], last);
}

TEST_F(Operator, ABlockedWorkerHoldsUpNobodyElse) {
  HttpConnection hangs(daemon_.address());
  ASSERT_TRUE(hangs.send_get("/hang"));
  ASSERT_TRUE(daemon_.wait_for([](const json& service) {
    return service["workers"][0]["in_flight"] == 1 || service["workers"][1]["in_flight"] == 1;
  }));
  for (int i = 0; i < 50; ++i) EXPECT_EQ(http_get(daemon_.address(), "/").status, 200);
}

TEST_F(Operator, AConnectionOutlivesTheWorkersOfItsListener) {
  const auto before = daemon_.pids();
  for (const pid_t pid : before) ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  HttpConnection waits(daemon_.address());
  ASSERT_TRUE(waits.send_get("/"));
  for (const pid_t pid : before) ASSERT_EQ(::kill(pid, SIGKILL), 0);
  EXPECT_EQ(waits.read_answer().status, 200);
  EXPECT_THAT(daemon_.pids(), testing::Each(testing::Not(testing::AnyOfArray(before))));
}

TEST(OperatorOfManyWorkers, WithTwoListenersStopsAllAndServesAgain) {
  const TempDir dir;
  const auto at = Address::unix_socket(dir.file("web.sock"));
  const Daemon daemon =
      web_of("http_threads", {"--workers", "8", "--listen", "tcp://127.0.0.1:0", "--listen", at.text()},
             {"--threads", "4"});
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(http_get(daemon.address(0), "/").status, 200);
    EXPECT_EQ(http_get(at, "/").status, 200);
    EXPECT_EQ(daemon.ctl({"stop", "web"}).code, 0);
    EXPECT_EQ(daemon.service()["workers"].size(), 0U);
    EXPECT_EQ(daemon.ctl({"start", "web"}).code, 0);
  }
  EXPECT_TRUE(wait_until_settled(daemon));
  EXPECT_EQ(daemon.failures().size(), 0U);
}

TEST(OperatorReload, OfAFailingGenerationSaysWhyAndLeavesTheOldOneServing) {
  const TempDir programs;
  const std::string program = programs.file("server");
  std::filesystem::create_symlink(built_program("examples/http_asio"), program);
  const Daemon daemon = web_of(program, {"--workers", "2", "--reload-probation", "50ms"});
  const auto before = daemon.pids();
  std::filesystem::remove(program);
  std::filesystem::create_symlink("/bin/false", program);
  const auto reloaded = daemon.ctl({"reload", "web"});
  EXPECT_EQ(reloaded.code, 1);
  EXPECT_THAT(reloaded.err,
              AllOf(HasSubstr("generation 2 failed"), HasSubstr("code 1"), HasSubstr("serve on")));
  EXPECT_EQ(daemon.pids(), before);
  EXPECT_EQ(daemon.service()["generation"], 1);
  EXPECT_EQ(http_get(daemon.address(), "/").status, 200);
  EXPECT_THAT(daemon.service()["why"].dump(), HasSubstr("generation 2 failed"));
}

TEST(OperatorSend, ReachesOneWorkerOrAllOfAService) {
  const Daemon daemon = web_of(odd_worker(), {"--workers", "3"}, {"obey"});
  const Events events(daemon);
  ASSERT_TRUE(wait_until([&] {
    daemon.ctl({"send", "web", "\"to all\""});
    const std::string seen = events.all();
    return seen.find("\"worker\":1") != std::string::npos && seen.find("\"worker\":2") != std::string::npos &&
           seen.find("\"worker\":3") != std::string::npos;
  }));
  EXPECT_EQ(daemon.ctl({"send", "web/1", "{\"to\": [\"one\", 2, null]}"}).code, 0);
  const auto line = events.line("\"to\"");
  ASSERT_TRUE(line);
  EXPECT_EQ(json::parse(*line)["worker"], 2);
  EXPECT_EQ(json::parse(*line)["message"], json::parse("{\"to\": [\"one\", 2, null]}"));
}

TEST(Stop, DrainsAllAndRemovesWhatWasCreated) {
  const TempDir dir;
  Daemon daemon = web_of("http_asio", {"--workers", "2", "--listen", "unix:" + dir.file("web.sock")});
  const auto pids = daemon.pids();
  HttpConnection busy(Address::unix_socket(dir.file("web.sock")));
  ASSERT_TRUE(busy.send_get("/?delay=1500"));
  ASSERT_TRUE(daemon.wait_for([](const json& service) {
    return service["workers"][0]["in_flight"] == 1 || service["workers"][1]["in_flight"] == 1;
  }));
  daemon.process().signal(SIGTERM);
  EXPECT_EQ(busy.read_answer().status, 200);
  const auto exit = daemon.process().wait();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->code, 0);
  for (const pid_t pid : pids) EXPECT_TRUE(wait_until_gone(pid));
  EXPECT_FALSE(std::filesystem::exists(dir.file("web.sock")));
  EXPECT_FALSE(std::filesystem::exists(daemon.control()));
}

}  // namespace
}  // namespace refork::test
