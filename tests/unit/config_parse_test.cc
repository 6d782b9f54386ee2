// What a configuration says, and what its mistakes are told as.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config.h"

namespace refork::config {
namespace {

using core::Millis;
using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> texts(const Outcome& outcome) {
  std::vector<std::string> out;
  for (const Problem& problem : outcome.problems) out.push_back(problem.text());
  return out;
}

std::vector<std::string> problems(std::string_view text) { return texts(parse(text, "refork.json")); }

// A service with this beside its command, on a line of its own.
std::vector<std::string> service_problems(const std::string& keys) {
  return problems("{\"services\": {\"web\": {\"command\": [\"x\"],\n" + keys + "}}}");
}

TEST(ConfigParse, ACommandIsEnoughAndTheRestHasDefaults) {
  const Outcome outcome = parse(R"({"services": {"web": {"command": ["server", ""]}}})", "f");
  ASSERT_THAT(texts(outcome), IsEmpty());
  ASSERT_EQ(outcome.config.services.size(), 1U);
  const core::ServiceConfig& web = outcome.config.services[0];
  EXPECT_EQ(web.name, "web");
  EXPECT_THAT(web.command, ElementsAre("server", ""));
  EXPECT_EQ(web.workers, core::ServiceConfig().workers);
  EXPECT_EQ(web.restart, core::ServiceConfig().restart);
}

TEST(ConfigParse, EveryKeyArrivesInItsPlace) {
  const Outcome outcome = parse(R"({
    "services": {
      "b": {
        "command": ["/usr/lib/web/server"], "workers": 4, "floor": 2, "ready": "notify",
        "listen": ["tcp://0.0.0.0:8080", "unix:/run/web.sock"], "nonblocking": false,
        "user": "www-data", "directory": "/srv/web", "environment": {"A": "b", "C": ""},
        "limits": {"nofile": 65536, "core": "unlimited"},
        "start_timeout": "250ms", "drain_deadline": "2m", "lame_duck": "0s",
        "watchdog": "5s", "request_timeout": "20s", "orphans": "serve", "core_dumps": 2,
        "recycle": {"requests": 100000, "age": "24h", "memory": "400M"},
        "restart": {"policy": "never", "backoff": ["1s", "1h"], "budget": [40, "20s"], "give_up": 7},
        "reload": {"probation": "3s"}, "log": "file:/var/log/web.log" },
      "a": {"command": ["x"]} },
    "store": {"max_failures": 5, "max_age": "90m"} })",
                                "f");
  ASSERT_THAT(texts(outcome), IsEmpty());
  ASSERT_EQ(outcome.config.services.size(), 2U);
  const core::ServiceConfig& b = outcome.config.services[0];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.workers, 4U);
  EXPECT_EQ(b.floor, 2U);
  EXPECT_EQ(b.ready, core::ReadyBy::notify);
  EXPECT_THAT(b.listen, ElementsAre("tcp://0.0.0.0:8080", "unix:/run/web.sock"));
  EXPECT_FALSE(b.nonblocking);
  EXPECT_EQ(b.user, "www-data");
  EXPECT_EQ(b.directory, "/srv/web");
  EXPECT_EQ(b.environment, (std::map<std::string, std::string>{{"A", "b"}, {"C", ""}}));
  ASSERT_EQ(b.limits.size(), 2U);
  EXPECT_EQ(b.limits[0].name, "nofile");
  EXPECT_EQ(b.limits[0].value, 65536U);
  EXPECT_EQ(b.limits[1].value, std::nullopt);
  EXPECT_EQ(b.start_timeout, Millis(250));
  EXPECT_EQ(b.drain_deadline, Millis(120'000));
  EXPECT_EQ(b.lame_duck, Millis(0));
  EXPECT_EQ(b.watchdog, Millis(5000));
  EXPECT_EQ(b.request_timeout, Millis(20'000));
  EXPECT_EQ(b.orphans, core::Orphans::serve);
  EXPECT_EQ(b.core_dumps, 2U);
  EXPECT_EQ(b.recycle, (core::ServiceConfig::Recycle{100000, Millis(86'400'000), 400U << 20}));
  EXPECT_EQ(b.restart.policy, core::RestartPolicy::never);
  EXPECT_EQ(b.restart.backoff_min, Millis(1000));
  EXPECT_EQ(b.restart.backoff_max, Millis(3'600'000));
  EXPECT_EQ(b.restart.budget, 40U);
  EXPECT_EQ(b.restart.budget_window, Millis(20'000));
  EXPECT_EQ(b.restart.give_up, 7U);
  EXPECT_EQ(b.reload.probation, Millis(3000));
  EXPECT_EQ(b.log, "file:/var/log/web.log");
  EXPECT_EQ(outcome.config.services[1].name, "a");
  EXPECT_EQ(outcome.config.store.max_failures, 5U);
  EXPECT_EQ(outcome.config.store.max_age, std::chrono::hours(2));
}

TEST(ConfigParse, AWrongTypeSaysWhereWhatWasExpectedAndWhatWasFound) {
  EXPECT_THAT(
      problems("{\n\"services\": {\"web\": {\"command\": [\"x\"],\n  \"workers\": \"four\"}}}"),
      ElementsAre(
          "refork.json:3:14: services.web.workers: expected a whole number from 1 to 1024, found \"four\""));
  EXPECT_THAT(
      service_problems("\"workers\": 2.5"),
      ElementsAre(
          "refork.json:2:12: services.web.workers: expected a whole number from 1 to 1024, found 2.5"));
  EXPECT_THAT(service_problems("\"nonblocking\": null"),
              ElementsAre("refork.json:2:16: services.web.nonblocking: expected true or false, found null"));
  EXPECT_THAT(
      service_problems("\"environment\": [\"A=b\"]"),
      ElementsAre(
          "refork.json:2:16: services.web.environment: expected an object such as {\"NAME\": \"value\"}, "
          "found a list of 1"));
  EXPECT_THAT(service_problems("\"environment\": {\"A\": 1}"),
              ElementsAre("refork.json:2:22: services.web.environment.A: expected a string, found 1"));
  EXPECT_THAT(
      service_problems("\"ready\": \"libary\""),
      ElementsAre("refork.json:2:10: services.web.ready: expected \"library\", \"notify\" or \"exec\", found "
                  "\"libary\""));
  EXPECT_THAT(problems("4"), ElementsAre("refork.json:1:1: expected an object, found 4"));
}

TEST(ConfigParse, AnUnknownKeyIsNamedWithTheNearestKnownOne) {
  EXPECT_THAT(
      service_problems("\"wokers\": 4"),
      ElementsAre("refork.json:2:1: services.web: unknown key \"wokers\"; did you mean \"workers\"?"));
  EXPECT_THAT(
      service_problems("\"start-timeout\": \"1s\""),
      ElementsAre(
          "refork.json:2:1: services.web: unknown key \"start-timeout\"; did you mean \"start_timeout\"?"));
  EXPECT_THAT(problems("{\"service\": {}, \"services\": {\"a\": {\"command\": [\"x\"]}}}"),
              ElementsAre("refork.json:1:2: unknown key \"service\"; did you mean \"services\"?"));
  EXPECT_THAT(
      service_problems("\"reload\": {\"grace\": 1}"),
      ElementsAre("refork.json:2:12: services.web.reload: unknown key \"grace\"; known are probation"));
}

TEST(ConfigParse, KeysThatDoNothingYetAreUnknown) {
  for (const char* key : {"standby", "share"})
    EXPECT_EQ(service_problems("\"" + std::string(key) + "\": null").size(), 1U) << key;
  EXPECT_EQ(service_problems("\"reload\": {\"surge\": 1}").size(), 1U);
}

TEST(ConfigParse, AllProblemsAreToldInTheOrderOfTheFile) {
  EXPECT_THAT(
      problems("{\"store\": {\"max_age\": 3},\n"
               "\"services\": {\"web\": {\"workers\": 1, \"floor\": 2,\n"
               "\"lisen\": []}}}"),
      ElementsAre(
          "refork.json:1:23: store.max_age: expected a duration such as \"250ms\", \"10s\" or \"5m\" from "
          "1h to 3650d, found 3",
          "refork.json:2:21: services.web: missing key \"command\"; expected a list of strings: the "
          "program and its arguments",
          "refork.json:2:45: services.web.floor: expected at most the number of workers, 1, found 2",
          "refork.json:3:1: services.web: unknown key \"lisen\"; did you mean \"listen\"?"));
}

TEST(ConfigParse, ADuplicateKeyIsAProblem) {
  EXPECT_THAT(
      service_problems("\"workers\": 2,\n \"workers\": 3"),
      ElementsAre("refork.json:3:2: services.web: duplicate key \"workers\"; the first one is at line 2"));
}

TEST(ConfigParse, ThereMustBeAServiceAndItMustHaveACommand) {
  EXPECT_THAT(
      problems("{}"),
      ElementsAre("refork.json:1:1: missing key \"services\"; expected an object with at least one service"));
  EXPECT_THAT(
      problems("{\"services\": {}}"),
      ElementsAre("refork.json:1:14: services: expected an object with at least one service, found an empty "
                  "object"));
  EXPECT_THAT(
      problems("{\"services\": {\"a\": {\"command\": []}}}"),
      ElementsAre("refork.json:1:32: services.a.command: expected a list of strings: the program and its "
                  "arguments, found an empty list"));
  EXPECT_THAT(problems("{\"services\": {\"a\": {\"command\": [\"\"]}}}"),
              ElementsAre("refork.json:1:33: services.a.command[0]: expected a program, found \"\""));
  EXPECT_THAT(
      problems("{\"services\": {\"a\": {\"command\": [\"x\", \"a\\u0000b\"]}}}"),
      ElementsAre("refork.json:1:38: services.a.command[1]: expected a string, found a string with a NUL "
                  "character"));
}

TEST(ConfigParse, AServiceNameHasAShapeAndALength) {
  const auto named = [](const std::string& name) {
    return problems("{\"services\": {\"" + name + "\": {\"command\": [\"x\"]}}}");
  };
  for (const std::string& good : {std::string("w"), std::string("0-a_b"), std::string(63, 'a')})
    EXPECT_THAT(named(good), IsEmpty()) << good;
  for (const std::string& bad : {std::string(), std::string("Web"), std::string("_a"), std::string("a/b"),
                                 std::string("a.b"), std::string("\xC3\xA4"), std::string(64, 'a')})
    EXPECT_EQ(named(bad).size(), 1U) << bad;
  EXPECT_THAT(
      named("my web"),
      ElementsAre(
          "refork.json:1:15: services: expected a service name (a to z, 0 to 9, '_' and '-', beginning "
          "with a letter or digit, at most 63 characters), found \"my web\""));
}

TEST(ConfigParse, NumbersHoldTheirBoundsOnBothSides) {
  for (const char* good :
       {"\"workers\": 1", "\"workers\": 1024", "\"floor\": 0", "\"workers\": 8, \"floor\": 8"})
    EXPECT_THAT(service_problems(good), IsEmpty()) << good;
  for (const char* bad : {"\"workers\": 0", "\"workers\": 1025", "\"workers\": -1", "\"floor\": -1",
                          "\"workers\": 8, \"floor\": 9"})
    EXPECT_EQ(service_problems(bad).size(), 1U) << bad;
}

TEST(ConfigParse, DurationsHoldTheirBoundsOnBothSides) {
  for (const char* good : {"1ms", "24h", "1440m", "1d"})
    EXPECT_THAT(service_problems("\"drain_deadline\": \"" + std::string(good) + "\""), IsEmpty()) << good;
  for (const char* bad : {"0s", "25h", "", "10", "s", "-1s", "+1s", "1.5s", "1 s", " 1s", "1s ", "1S", "1w",
                          "99999999999999999999s", "0x1s"})
    EXPECT_THAT(
        service_problems("\"drain_deadline\": \"" + std::string(bad) + "\""),
        ElementsAre("refork.json:2:19: services.web.drain_deadline: expected a duration such as \"250ms\", "
                    "\"10s\" or \"5m\" from 1ms to 24h, found \"" +
                    std::string(bad) + "\""));
}

TEST(ConfigParse, AddressesAreCheckedByTheirShape) {
  const auto listen = [](const std::string& address) {
    return service_problems("\"listen\": [\"" + address + "\"]");
  };
  for (const char* good : {"tcp://0.0.0.0:8080", "tcp://[::]:80", "tcp://[fe80::1%eth0]:80",
                           "tcp://localhost:0", "tcp://0.0.0.0:65535", "unix:/run/web.sock"})
    EXPECT_THAT(listen(good), IsEmpty()) << good;
  for (const char* bad :
       {"", "8080", "0.0.0.0:80", "tcp://:80", "tcp://::1:80", "tcp://a", "tcp://a:", "tcp://a:b",
        "tcp://a:65536", "udp://a:1", "unix:", "unix:web.sock", "tcp://a:80/x"})
    EXPECT_EQ(listen(bad).size(), 1U) << bad;
  EXPECT_THAT(
      listen("8080"),
      ElementsAre("refork.json:2:12: services.web.listen[0]: expected an address: \"tcp://HOST:PORT\", "
                  "\"tcp://[V6]:PORT\" or \"unix:/PATH\", found \"8080\""));
  EXPECT_THAT(listen("tcp://a:65536"),
              ElementsAre("refork.json:2:12: services.web.listen[0]: expected a port from 0 to 65535, found "
                          "\"tcp://a:65536\""));
}

TEST(ConfigParse, ASocketsPathFitsIntoItsAddress) {
  const auto listen = [](std::size_t bytes) {
    return service_problems("\"listen\": [\"unix:/" + std::string(bytes - 1, 'x') + "\"]");
  };
  EXPECT_THAT(listen(107), IsEmpty());
  EXPECT_THAT(listen(108),
              ElementsAre("refork.json:2:12: services.web.listen[0]: expected a socket's path of "
                          "at most 107 bytes, found 108 in \"unix:/" +
                          std::string(54, 'x') + "...\""));
}

TEST(ConfigParse, AnAddressBelongsToOneService) {
  EXPECT_THAT(problems(R"({"services": {"a": {"command": ["x"], "listen": ["tcp://a:80", "tcp://a:0"]},
"b": {"command": ["x"], "listen": ["tcp://a:0", "tcp://a:80"]}}})"),
              ElementsAre("refork.json:2:49: services.b.listen[1]: \"tcp://a:80\" is already listened on by "
                          "services.a.listen[0]"));
}

TEST(ConfigParse, TheBackoffGrows) {
  EXPECT_THAT(service_problems("\"restart\": {\"backoff\": [\"1s\", \"1s\"]}"), IsEmpty());
  EXPECT_THAT(
      service_problems("\"restart\": {\"backoff\": [\"2s\", \"1s\"]}"),
      ElementsAre(
          "refork.json:2:24: services.web.restart.backoff: expected the shorter duration first, found "
          "2s before 1s"));
  EXPECT_THAT(service_problems("\"restart\": {\"backoff\": [\"2s\"]}"),
              ElementsAre("refork.json:2:24: services.web.restart.backoff: expected two durations from 1ms "
                          "to 24h such as [\"100ms\", "
                          "\"30s\"], found a list of 1"));
  EXPECT_EQ(service_problems("\"restart\": {\"backoff\": [\"1s\", \"2s\", \"3s\"]}").size(), 1U);
}

TEST(ConfigParse, TheBudgetIsANumberOfDrainsAndADuration) {
  EXPECT_THAT(service_problems("\"restart\": {\"budget\": [1, \"1ms\"]}"), IsEmpty());
  EXPECT_THAT(
      service_problems("\"restart\": {\"budget\": [0, 10]}"),
      ElementsAre(
          "refork.json:2:24: services.web.restart.budget[0]: expected a whole number from 1 to 1000000, "
          "found 0",
          "refork.json:2:27: services.web.restart.budget[1]: expected a duration such as \"250ms\", "
          "\"10s\" or \"5m\" from 1ms to 24h, found 10"));
}

TEST(ConfigParse, GivingUpIsANumberOrNever) {
  for (const char* good : {"\"never\"", "1", "1000000"})
    EXPECT_THAT(service_problems("\"restart\": {\"give_up\": " + std::string(good) + "}"), IsEmpty()) << good;
  for (const char* bad : {"\"always\"", "0", "1000001", "null"})
    EXPECT_EQ(service_problems("\"restart\": {\"give_up\": " + std::string(bad) + "}").size(), 1U) << bad;
}

TEST(ConfigParse, WhatIsNotWatchedIsNull) {
  for (const char* keys :
       {R"("watchdog": null)", R"("request_timeout": null)", R"("recycle": {"requests": null})",
        R"("recycle": {"age": null})", R"("recycle": {"memory": null})", R"("watchdog": "100ms")",
        R"("watchdog": "24h")", R"("request_timeout": "10ms")", R"("core_dumps": 0)",
        R"("recycle": {"memory": "4096", "age": "100ms", "requests": 1})"})
    EXPECT_THAT(service_problems(keys), IsEmpty());
  for (const char* keys :
       {R"("watchdog": "99ms")", R"("watchdog": "25h")", R"("request_timeout": "9ms")",
        R"("recycle": {"memory": 4096})", R"("recycle": {"memory": "0"})", R"("recycle": {"memory": "1T"})",
        R"("recycle": {"requests": 0})", R"("recycle": {"age": "99ms"})", R"("core_dumps": -1)",
        R"("orphans": "kill")", R"("recycle": null)"})
    EXPECT_EQ(service_problems(keys).size(), 1U) << keys;
  EXPECT_THAT(
      service_problems(R"("watchdog": 5)"),
      ElementsAre("refork.json:2:13: services.web.watchdog: expected null or a duration from 100ms to "
                  "24h, found 5"));
}

TEST(ConfigParse, SizesHoldTheirBoundsOnBothSides) {
  const auto memory = [](const std::string& size) {
    return service_problems(R"("recycle": {"memory": ")" + size + "\"}");
  };
  for (const char* good : {"1", "1125899906842624", "1099511627776K", "1073741824M", "1048576G"})
    EXPECT_THAT(memory(good), IsEmpty()) << good;
  for (const char* bad : {"0G", "1125899906842625", "1048577G", "17179869184G", "999999999999G",
                          "999999999999999G", "99999999999999999999"})
    EXPECT_EQ(memory(bad).size(), 1U) << bad;
  EXPECT_THAT(
      memory("17179869184G"),
      ElementsAre("refork.json:2:23: services.web.recycle.memory: expected null or a size such as \"400M\" "
                  "or \"2G\" from 1 to 1048576G, found \"17179869184G\""));
}

TEST(ConfigParse, AnEnvironmentVariableHasAName) {
  EXPECT_THAT(service_problems("\"environment\": {\"_a1\": \"\"}"), IsEmpty());
  EXPECT_THAT(service_problems("\"environment\": {\"" + std::string(255, 'A') + "\": \"\"}"), IsEmpty());
  for (const std::string& bad :
       {std::string(), std::string("1A"), std::string("A=B"), std::string("A B"), std::string(256, 'A')})
    EXPECT_EQ(service_problems("\"environment\": {\"" + bad + "\": \"\"}").size(), 1U) << bad;
  EXPECT_THAT(
      service_problems("\"environment\": {\"LISTEN_FDS\": \"3\"}"),
      ElementsAre(
          "refork.json:2:17: services.web.environment.LISTEN_FDS: reforkd sets this variable itself"));
}

TEST(ConfigParse, ALimitHasAKnownNameAndANumberOrUnlimited) {
  EXPECT_THAT(service_problems("\"limits\": {\"nofile\": 0, \"stack\": \"unlimited\"}"), IsEmpty());
  EXPECT_THAT(
      service_problems("\"limits\": {\"nofile\": -1}"),
      ElementsAre("refork.json:2:22: services.web.limits.nofile: expected a whole number of at least 0 or "
                  "\"unlimited\", found -1"));
  EXPECT_EQ(service_problems("\"limits\": {\"nofile\": \"many\"}").size(), 1U);
  EXPECT_EQ(service_problems("\"limits\": {\"nofiles\": 1}").size(), 1U);
}

TEST(ConfigParse, OutputGoesToAFileByItsWholePath) {
  for (const char* good : {"auto", "journal", "inherit", "null", "file:/var/log/web.log"})
    EXPECT_THAT(service_problems("\"log\": \"" + std::string(good) + "\""), IsEmpty()) << good;
  for (const char* bad : {"", "journald", "file:", "file:web.log", "file:/", "nullx", "/var/log/web.log"})
    EXPECT_EQ(service_problems("\"log\": \"" + std::string(bad) + "\"").size(), 1U) << bad;
}

TEST(ConfigParse, ASyntaxErrorIsTheOnlyProblemTold) {
  EXPECT_THAT(service_problems("\"wokers\": 4,"),
              ElementsAre("refork.json:2:13: expected a key in double quotes after ',', found '}'"));
}

TEST(ParseDuration, UnitsAreMilliseconds) {
  EXPECT_EQ(*parse_duration("0ms"), Millis(0));
  EXPECT_EQ(*parse_duration("250ms"), Millis(250));
  EXPECT_EQ(*parse_duration("10s"), Millis(10'000));
  EXPECT_EQ(*parse_duration("5m"), Millis(300'000));
  EXPECT_EQ(*parse_duration("24h"), Millis(86'400'000));
  EXPECT_EQ(*parse_duration("30d"), Millis(2'592'000'000));
}

TEST(ParseDuration, WhatIsNoDurationOrTooLongIsRefusedWithASentence) {
  EXPECT_TRUE(parse_duration("9223372036854775807ms"));
  EXPECT_FALSE(parse_duration("9223372036854775808ms"));
  EXPECT_TRUE(parse_duration("106751991167d"));
  EXPECT_FALSE(parse_duration("106751991168d"));
  for (const char* bad : {"", "s", "1", "-1s", "-0s", "+1s", "1.0s", "1x", "1s1s"})
    EXPECT_FALSE(parse_duration(bad)) << bad;
  EXPECT_EQ(parse_duration("soon").error().what,
            "expected a duration such as \"250ms\", \"10s\" or \"5m\", found \"soon\"");
}

TEST(ParseSize, UnitsAreThoseOf1024) {
  EXPECT_EQ(*parse_size("1"), 1U);
  EXPECT_EQ(*parse_size("64K"), 65536U);
  EXPECT_EQ(*parse_size("400M"), 400U << 20);
  EXPECT_EQ(*parse_size("2G"), std::uint64_t{2} << 30);
  for (const char* bad : {"", "K", "1k", "1KB", "-1", "1.5G", "17179869184G"})
    EXPECT_FALSE(parse_size(bad)) << bad;
}

}  // namespace
}  // namespace refork::config
