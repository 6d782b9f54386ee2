// The options of `reforkd run`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

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

std::vector<std::string> problems(const std::vector<Option>& options) {
  return texts(from_options("web", options, {"server"}));
}

TEST(ConfigOptions, ACommandIsEnough) {
  const Outcome outcome = from_options("web", {}, {"server", "--port", ""});
  ASSERT_THAT(texts(outcome), IsEmpty());
  ASSERT_EQ(outcome.config.services.size(), 1U);
  EXPECT_EQ(outcome.config.services[0].name, "web");
  EXPECT_THAT(outcome.config.services[0].command, ElementsAre("server", "--port", ""));
}

TEST(ConfigOptions, EveryOptionArrivesInItsPlace) {
  const Outcome outcome = from_options("web",
                                       {{"workers", "4"},
                                        {"floor", "2"},
                                        {"ready", "exec"},
                                        {"listen", "tcp://127.0.0.1:80"},
                                        {"listen", "unix:/run/w"},
                                        {"nonblocking", "false"},
                                        {"user", "42"},
                                        {"directory", "/srv"},
                                        {"environment", "A=b=c"},
                                        {"environment", "B="},
                                        {"limits", "nofile=65536"},
                                        {"limits", "core=unlimited"},
                                        {"start-timeout", "1s"},
                                        {"drain_deadline", "2s"},
                                        {"lame-duck", "3s"},
                                        {"restart-policy", "never"},
                                        {"restart-backoff", "1ms,2ms"},
                                        {"restart-budget", "40,10s"},
                                        {"restart-give-up", "3"},
                                        {"reload-probation", "4s"},
                                        {"watchdog", "5s"},
                                        {"request-timeout", "6s"},
                                        {"orphans", "serve"},
                                        {"core-dumps", "7"},
                                        {"recycle-requests", "8"},
                                        {"recycle-age", "9s"},
                                        {"recycle-memory", "10K"},
                                        {"log", "null"}},
                                       {"x"});
  ASSERT_THAT(texts(outcome), IsEmpty());
  const core::ServiceConfig& web = outcome.config.services[0];
  EXPECT_EQ(web.workers, 4U);
  EXPECT_EQ(web.floor, 2U);
  EXPECT_EQ(web.ready, core::ReadyBy::exec);
  EXPECT_THAT(web.listen, ElementsAre("tcp://127.0.0.1:80", "unix:/run/w"));
  EXPECT_FALSE(web.nonblocking);
  EXPECT_EQ(web.user, "42");
  EXPECT_EQ(web.directory, "/srv");
  EXPECT_EQ(web.environment, (std::map<std::string, std::string>{{"A", "b=c"}, {"B", ""}}));
  ASSERT_EQ(web.limits.size(), 2U);
  EXPECT_EQ(web.limits[0].value, 65536U);
  EXPECT_EQ(web.limits[1].value, std::nullopt);
  EXPECT_EQ(web.start_timeout, Millis(1000));
  EXPECT_EQ(web.drain_deadline, Millis(2000));
  EXPECT_EQ(web.lame_duck, Millis(3000));
  EXPECT_EQ(web.restart.policy, core::RestartPolicy::never);
  EXPECT_EQ(web.restart.backoff_min, Millis(1));
  EXPECT_EQ(web.restart.backoff_max, Millis(2));
  EXPECT_EQ(web.restart.budget, 40U);
  EXPECT_EQ(web.restart.budget_window, Millis(10'000));
  EXPECT_EQ(web.restart.give_up, 3U);
  EXPECT_EQ(web.reload.probation, Millis(4000));
  EXPECT_EQ(web.watchdog, Millis(5000));
  EXPECT_EQ(web.request_timeout, Millis(6000));
  EXPECT_EQ(web.orphans, core::Orphans::serve);
  EXPECT_EQ(web.core_dumps, 7U);
  EXPECT_EQ(web.recycle, (core::ServiceConfig::Recycle{8, Millis(9000), 10240}));
  EXPECT_EQ(web.log, "null");
}

TEST(ConfigOptions, GivingUpNeverIsAWord) {
  const Outcome outcome = from_options("web", {{"restart-give-up", "never"}}, {"x"});
  EXPECT_THAT(texts(outcome), IsEmpty());
  EXPECT_EQ(outcome.config.services[0].restart.give_up, std::nullopt);
}

TEST(ConfigOptions, AProblemNamesItsOption) {
  EXPECT_THAT(
      problems({{"listen", "8080"}, {"workers", "four"}, {"floor", "0"}}),
      ElementsAre(
          "--listen: expected an address: \"tcp://HOST:PORT\", \"tcp://[V6]:PORT\" or \"unix:/PATH\", "
          "found \"8080\"",
          "--workers: expected a whole number from 1 to 1024, found \"four\""));
  EXPECT_THAT(problems({{"workers", "1025"}}),
              ElementsAre("--workers: expected a whole number from 1 to 1024, found 1025"));
  EXPECT_THAT(problems({{"workers", "1"}, {"floor", "2"}}),
              ElementsAre("--floor: expected at most the number of workers, 1, found 2"));
  EXPECT_THAT(problems({{"nonblocking", "maybe"}}),
              ElementsAre("--nonblocking: expected true or false, found \"maybe\""));
  EXPECT_THAT(problems({{"limits", "nofiles=1"}}).size(), 1U);
  EXPECT_THAT(problems({{"limits", "nofile=x"}}),
              ElementsAre("--limits: expected a whole number of at least 0 or \"unlimited\", found \"x\""));
  EXPECT_THAT(problems({{"environment", "A"}}),
              ElementsAre("--environment: expected NAME=VALUE, found \"A\""));
  EXPECT_THAT(problems({{"environment", "A=1"}, {"environment", "A=2"}}),
              ElementsAre("--environment: duplicate key \"A\""));
  EXPECT_THAT(problems({{"restart-backoff", "1s"}}),
              ElementsAre("--restart-backoff: expected two durations from 1ms to 24h such as [\"100ms\", "
                          "\"30s\"], found a list of 1"));
}

TEST(ConfigOptions, AnOptionThatIsUnknownOrGivenTwiceIsAProblem) {
  EXPECT_THAT(problems({{"wokers", "4"}}), ElementsAre("--wokers: unknown option; did you mean --workers?"));
  EXPECT_THAT(problems({{"color", "1"}}), ElementsAre("--color: unknown option"));
  EXPECT_THAT(problems({{"command", "x"}}).size(), 1U);
  EXPECT_THAT(problems({{"workers", "1"}, {"workers", "2"}}), ElementsAre("--workers: expected only once"));
  EXPECT_THAT(problems({{"restart-budget", "1,1s"}, {"restart-budget", "1,1s"}}),
              ElementsAre("--restart-budget: expected only once"));
}

TEST(ConfigOptions, TheNameAndTheCommandAreCheckedToo) {
  EXPECT_THAT(texts(from_options("Web", {}, {"x"})).at(0),
              testing::StartsWith("--name: expected a service name"));
  EXPECT_THAT(
      texts(from_options("web", {}, {})),
      ElementsAre("COMMAND: expected a list of strings: the program and its arguments, found an empty list"));
  EXPECT_THAT(texts(from_options("web", {}, {""})), ElementsAre("COMMAND: expected a program, found \"\""));
}

TEST(ConfigOptions, AnOptionMayBeSpelledAsItsKeyIs) {
  std::vector<std::string> aliases;
  for (const OptionHelp& option : option_names())
    if (!option.alias.empty()) aliases.push_back(option.name + " " + option.alias);
  EXPECT_THAT(aliases, ElementsAre("start-timeout start_timeout", "drain-deadline drain_deadline",
                                   "lame-duck lame_duck", "request-timeout request_timeout",
                                   "core-dumps core_dumps", "restart-give-up restart-give_up"));
  EXPECT_THAT(problems({{"start_timeout", "1s"}, {"restart-give_up", "2"}}), IsEmpty());
}

TEST(ConfigOptions, EveryKeyOfAServiceIsAnOption) {
  std::vector<std::string> names;
  for (const OptionHelp& option : option_names()) {
    names.push_back(option.name + (option.repeats ? "*" : "") + " " + option.value);
    EXPECT_FALSE(option.help.empty()) << option.name;
  }
  EXPECT_THAT(names,
              ElementsAre("workers N", "floor N", "ready library|notify|exec", "listen* ADDRESS",
                          "nonblocking true|false", "user USER", "directory PATH", "environment* NAME=VALUE",
                          "limits* NAME=N|unlimited", "start-timeout DURATION", "drain-deadline DURATION",
                          "lame-duck DURATION", "watchdog DURATION", "request-timeout DURATION",
                          "orphans drain|serve", "core-dumps N", "recycle-requests N", "recycle-age DURATION",
                          "recycle-memory SIZE", "restart-policy always|never", "restart-backoff MIN,MAX",
                          "restart-budget N,DURATION", "restart-give-up never|N", "reload-probation DURATION",
                          "log auto|journal|inherit|null|file:/PATH", "redact* NAME"));
}

TEST(ConfigOptions, SayWhatHoldsWithoutThem) {
  std::vector<std::string> said;
  for (const OptionHelp& option : option_names())
    if (!option.fallback.empty()) said.push_back(option.name + " " + option.fallback);
  EXPECT_THAT(said, ElementsAre("workers 1", "floor 1", "ready library", "nonblocking true",
                                "start-timeout 10s", "drain-deadline 30s", "lame-duck 1s", "orphans drain",
                                "core-dumps 6", "restart-policy always", "restart-backoff 100ms,30s",
                                "restart-give-up never", "reload-probation 2s", "log auto"));
}

TEST(ConfigOptions, AnEmptyNameMeansThatNothingIsHidden) {
  const auto redact = [](const std::vector<Option>& options) {
    const Outcome outcome = from_options("web", options, {"server"});
    EXPECT_THAT(texts(outcome), IsEmpty());
    return outcome.config.services[0].redact;
  };
  EXPECT_EQ(redact({}), std::nullopt);
  EXPECT_EQ(redact({{"redact", ""}}), std::vector<std::string>());
  EXPECT_EQ(redact({{"redact", "query"}, {"redact", "order"}}), (std::vector<std::string>{"query", "order"}));
  EXPECT_EQ(problems({{"redact", "a=b"}}).size(), 1U);
}

}  // namespace
}  // namespace refork::config
