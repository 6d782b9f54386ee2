// What a record shows and hides, and that failures are counted to the last one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// The label of the one failed request, and of the request that was cut with its worker.
std::vector<std::string> labels(std::vector<std::string> options, std::vector<std::string> arguments) {
  options.insert(options.end(), {"--drain-deadline", "200ms"});
  const Daemon daemon = web_of("http_threads", std::move(options), std::move(arguments));
  HttpConnection hangs(daemon.address());
  EXPECT_TRUE(hangs.send_get("/hang?order=1"));
  EXPECT_TRUE(wait_for_in_flight(daemon, 1));
  EXPECT_EQ(http_get(daemon.address(), "/error?order=2&token=3").status, 500);
  const json failure = complete_failures(daemon, 1)[0];
  std::vector<std::string> found = cut_by(failure);
  found.insert(found.begin(), failure["request"]["label"].get<std::string>());
  return found;
}

TEST(Redaction, AnApplicationThatShowsItsQueriesStillHidesItsSecrets) {
  EXPECT_THAT(labels({}, {"--show-query"}),
              ElementsAre("GET /error?order=2&token=[redacted]", "GET /hang?order=1"));
}

TEST(Redaction, TheOperatorHasTheLastWord) {
  EXPECT_THAT(labels({"--redact", "query"}, {"--show-query"}),
              ElementsAre("GET /error?[redacted]", "GET /hang?[redacted]"));
  EXPECT_THAT(labels({"--redact", ""}, {"--show-query"}),
              ElementsAre("GET /error?order=2&token=3", "GET /hang?order=1"));
}

TEST(Redaction, WhatAnApplicationShowsIsKnownToTheNextReforkd) {
  Daemon daemon = web_of("http_threads", {}, {"--show-query"});
  HttpConnection hangs(daemon.address());
  ASSERT_TRUE(hangs.send_get("/hang?order=1"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  ASSERT_EQ(http_get(daemon.address(), "/error?order=2").status, 500);
  daemon.kill();
  ASSERT_TRUE(daemon.wait_for_failures(1));
  EXPECT_EQ(daemon.failures()[0]["request"]["label"], "GET /error?order=2");
}

std::map<std::string, std::uint64_t> top_counts(const Daemon& daemon) {
  std::map<std::string, std::uint64_t> counts;
  for (const json& group : daemon.json({"failures", "top"}))
    counts[group["type"].get<std::string>()] = group["count"].get<std::uint64_t>();
  return counts;
}

TEST(Counting, ABurstFromSeveralThreadsIsCountedExactly) {
  for (const char* order : {"\"burst\"", "\"burst and drain\""}) {
    const Daemon daemon = web_of(odd_worker(), {}, {"obey"});
    ASSERT_EQ(daemon.ctl({"send", "web/0", order}).code, 0);
    const std::map<std::string, std::uint64_t> expected = {{"left", 1000}, {"right", 1000}};
    EXPECT_TRUE(wait_until([&] { return top_counts(daemon) == expected; })) << order;
    EXPECT_EQ(top_counts(daemon), expected) << order;
    const json failure = daemon.failures()[0];
    EXPECT_EQ(failure["context"]["session_token"], "[redacted]");
    EXPECT_EQ(failure["context"]["user"], "bob");
  }
}

TEST(Naming, EventsAndTheLogSayWhatFailed) {
  const Daemon daemon = web_of("http_asio");
  const Events events(daemon);
  ASSERT_TRUE(wait_until([&] {  // the first may come before `events` listens
    http_get(daemon.address(), "/error");
    return events.all().find("\"failure\"") != std::string::npos;
  }));
  const auto event = events.line("\"failure\"");
  ASSERT_TRUE(event);
  EXPECT_THAT(*event, HasSubstr(": std::runtime_error: this request was asked to fail"));
  EXPECT_THAT(daemon.log(), HasSubstr(": std::runtime_error: this request was asked to fail"));
}

TEST(Naming, AServiceThatIsNotThereIsSaidToBeMissingInOneWay) {
  const Daemon daemon = web_of("http_asio");
  for (const std::vector<std::string>& words : {std::vector<std::string>{"status", "nosuch"},
                                                {"reload", "nosuch"},
                                                {"drain", "nosuch/0"},
                                                {"failures", "--service", "nosuch"},
                                                {"failures", "top", "--service", "nosuch"}}) {
    const auto ran = daemon.ctl(words);
    EXPECT_EQ(ran.code, 1) << words[0];
    EXPECT_EQ(ran.err, "reforkctl: no service \"nosuch\"; there is: web\n") << words[0];
  }
}

TEST(Naming, AStoppedServiceStillSaysHowManyWorkersItHas) {
  const Daemon daemon = web_of("http_asio", {"--workers", "2"});
  ASSERT_EQ(daemon.ctl({"stop", "web"}).code, 0);
  EXPECT_EQ(daemon.service()["wanted"], 2);
  EXPECT_THAT(daemon.ctl({"status"}).out, HasSubstr("0/2 serving"));
}

TEST(Naming, TheHelpOfRunSaysWhatHoldsWithoutAnOption) {
  const auto help = reforkd({"run", "--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, HasSubstr("DURATION=30s"));
  EXPECT_THAT(help.out, HasSubstr("MIN,MAX=100ms,30s"));
}

}  // namespace
}  // namespace refork::test
