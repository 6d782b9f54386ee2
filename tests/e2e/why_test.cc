// `reforkctl why` on a live reforkd: what came of what, and why something does not run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// The entry of this kind and worker, once it is there.
json entry(const Daemon& daemon, const std::string& target, const std::string& what, std::uint64_t worker) {
  json found;
  wait_until([&] {
    const json why = daemon.json({"why", target});
    for (const auto& one : why["history"])
      if (one["what"] == what && one["worker"] == worker) found = one;
    return found.is_object();
  });
  return found;
}

TEST(Why, AnErrorIsToldWithWhatCameOfIt) {
  const Daemon daemon = web_of("http_threads", {"--workers", "1", "--floor", "0"});
  HttpConnection busy(daemon.address());
  ASSERT_TRUE(busy.send_get("/?delay=1500"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  EXPECT_EQ(http_get(daemon.address(), "/error").status, 500);
  EXPECT_EQ(busy.read_answer().status, 200);
  const json failures = complete_failures(daemon, 1);
  const std::string id = failures[0]["id"];
  ASSERT_TRUE(wait_until_settled(daemon));

  const json failed = entry(daemon, "web/0", "failure", 1), ended = entry(daemon, "web/0", "worker-ended", 1),
             started = entry(daemon, "web/0", "worker-started", 2);
  EXPECT_EQ(failed["failure"], id);
  EXPECT_THAT(failed["detail"].get<std::string>(), HasSubstr("this request was asked to fail"));
  EXPECT_EQ(ended["failure"], id);
  EXPECT_GE(ended["completed"], 1);
  EXPECT_EQ(ended["cut"], 0);
  EXPECT_EQ(started["failure"], id);
  EXPECT_EQ(started["instead_of"], 1);
  EXPECT_GE(started["duration_ms"], 0);

  const auto text = daemon.ctl({"why", "web/0"});
  EXPECT_EQ(text.code, 0);
  EXPECT_THAT(text.out,
              AllOf(HasSubstr("web/0: serving, worker 2 (pid "), HasSubstr("worker 1 failed: exception"),
                    HasSubstr("(failure " + id + ")"), HasSubstr("worker 2 started in its place, ready"),
                    HasSubstr("worker 1 drained after")));
}

TEST(Why, AKilledWorkerNamesHowManyRequestsItTookAlong) {
  const Daemon daemon = web_of("http_threads", {"--workers", "2"});
  HttpConnection busy(daemon.address());
  ASSERT_TRUE(busy.send_get("/?delay=60000"));
  ASSERT_TRUE(daemon.wait_for([](const json& service) {
    return service["workers"][0]["in_flight"] == 1 || service["workers"][1]["in_flight"] == 1;
  }));
  const json hit = daemon.service()["workers"][daemon.service()["workers"][0]["in_flight"] == 1 ? 0 : 1];
  ASSERT_EQ(::kill(hit["pid"].get<pid_t>(), SIGKILL), 0);
  const std::string slot = "web/" + hit["slot"].dump();
  const json ended = entry(daemon, slot, "worker-ended", hit["id"]);
  EXPECT_EQ(ended["cut"], 1);
  EXPECT_TRUE(ended["completed"].is_null());
  EXPECT_EQ(ended["failure"], complete_failures(daemon, 1)[0]["id"]);
  EXPECT_EQ(entry(daemon, slot, "worker-started", 3)["failure"], ended["failure"]);
  EXPECT_THAT(daemon.ctl({"why", hit["slot"] == 0 ? "web/1" : "web/0"}).out, Not(HasSubstr("SIGKILL")));
}

TEST(Why, AStoppedServiceNamesWhoStoppedIt) {
  const Daemon daemon = web_of("http_asio", {"--workers", "1"});
  EXPECT_EQ(daemon.ctl({"stop", "web"}).code, 0);
  const std::string me = ::geteuid() == 0 ? "root" : "uid " + std::to_string(::geteuid());
  const json why = daemon.json({"why", "web"});
  EXPECT_EQ(why["state"], "stopped");
  EXPECT_EQ(why["conditions"][0]["kind"], "stopped");
  EXPECT_EQ(entry(daemon, "web", "worker-draining", 1)["by"], me);
  EXPECT_THAT(daemon.ctl({"why", "web"}).out,
              AllOf(HasSubstr("stopped: no worker is wanted"), HasSubstr("stop, asked for by " + me)));
}

TEST(Why, ARefusedOrderLeavesNoTrace) {
  const Daemon daemon = web_of("http_asio", {"--workers", "1"});
  for (const std::vector<std::string>& order :
       {std::vector<std::string>{"drain", "web"}, {"kill", "web/7"}, {"scale", "web", "100000"}})
    EXPECT_EQ(daemon.ctl(order).code, 1) << order[0];
  EXPECT_EQ(daemon.ctl({"restart", "web"}).code, 0);  // told once, though it is two orders
  std::vector<std::string> told;
  const json why = daemon.json({"why", "web"});
  for (const auto& one : why["history"])
    if (one["what"] == "operator") told.push_back(one["text"].get<std::string>().substr(0, 7));
  EXPECT_THAT(told, testing::ElementsAre("restart"));
}

TEST(Why, ASlotThatDoesNotBootSaysAfterHowManyStartsAndUntilWhen) {
  const Daemon daemon =
      web({"--workers", "1", "--restart-backoff", "50ms,60s", "--start-timeout", "10s"}, {"/bin/false"});
  ASSERT_TRUE(daemon.wait_for_failures(3));
  json condition;
  ASSERT_TRUE(wait_until([&] {
    const json why = daemon.json({"why", "web/0"});
    condition = why["conditions"].empty() ? json() : why["conditions"][0];
    return condition.is_object() && condition["kind"] == "backoff";
  }));
  EXPECT_THAT(condition["text"].get<std::string>(),
              AllOf(HasSubstr("failed starts"), HasSubstr("exited with code 1 before it was ready")));
  EXPECT_GT(condition["until_ms"], 0);
  EXPECT_EQ(entry(daemon, "web/0", "worker-started", 2)["waited_for"], "its backoff");
}

TEST(Why, AServiceThatGaveUpSaysSo) {
  const Daemon daemon =
      web({"--workers", "1", "--restart-backoff", "50ms,50ms", "--restart-give-up", "2"}, {"/bin/false"});
  ASSERT_TRUE(daemon.wait_for_state("stopped"));
  EXPECT_THAT(daemon.ctl({"why", "web"}).out, AllOf(HasSubstr("given up after 2 failed starts"),
                                                    HasSubstr("`reforkctl start web` tries again")));
}

TEST(Why, WhatIsNotThereIsAMistake) {
  const Daemon daemon = web_of("http_asio", {"--workers", "1"});
  for (const auto& [target, said] : {std::pair{"nosuch", "no service"}, {"web/1", "it has 0 to 0"}}) {
    const auto ran = daemon.ctl({"why", target});
    EXPECT_EQ(ran.code, 1);
    EXPECT_THAT(ran.err, HasSubstr(said));
  }
  EXPECT_EQ(daemon.ctl({"why"}).code, 2);
}

TEST(Why, RemembersWhatHappenedBeforeReforkdDied) {
  Daemon daemon = web_of("http_threads", {"--workers", "1", "--floor", "0"});
  EXPECT_EQ(http_get(daemon.address(), "/error").status, 500);
  const std::string id = complete_failures(daemon, 1)[0]["id"];
  ASSERT_TRUE(wait_until_settled(daemon));
  const json before = entry(daemon, "web/0", "worker-started", 2);
  daemon.kill();
  daemon.kill();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_EQ(entry(daemon, "web/0", "failure", 1)["failure"], id);
  EXPECT_EQ(entry(daemon, "web/0", "worker-started", 2), before);
  EXPECT_EQ(before["failure"], id);
  EXPECT_THAT(daemon.ctl({"why", "web"}).out,
              AllOf(HasSubstr("reforkd was started again, and goes on with 1 worker, 2 times"),
                    HasSubstr("worker 1 failed: exception")));
}

}  // namespace
}  // namespace refork::test
