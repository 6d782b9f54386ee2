// The whole of reforkctl against the real Bus: command lines, exit codes, words.
#include <gmock/gmock.h>

#include <atomic>
#include <fstream>

#include "bus_fixture.h"
#include "ctl/cli.h"
#include "ctl/commands.h"
#include "proto/record.h"

namespace refork::bus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::variant<ctl::Invocation, ctl::Farewell> parse(std::vector<const char*> words) {
  words.insert(words.begin(), "reforkctl");
  return ctl::parse_command_line(static_cast<int>(words.size()), words.data());
}

TEST(CommandLine, GlobalOptionsMayStandAfterTheCommand) {
  const auto line = parse({"reload", "web", "--json", "--no-block", "--control", "/s"});
  const auto& call = std::get<ctl::Invocation>(line);
  EXPECT_EQ(call.operation.verb, "Reload");
  EXPECT_EQ(call.operation.target, "web");
  EXPECT_FALSE(call.operation.wait);
  EXPECT_TRUE(call.json);
  EXPECT_EQ(call.control, "/s");
}

TEST(CommandLine, FailuresAloneIsItsList) {
  for (const auto& words : {std::vector{"failures", "--kind", "boot", "-n", "7"},
                            std::vector{"failures", "list", "--kind", "boot", "-n", "7"}}) {
    const auto line = parse(words);
    const auto& call = std::get<ctl::Invocation>(line);
    EXPECT_EQ(call.command, ctl::Command::failures_list);
    EXPECT_EQ(call.filter.kind, "boot");
    EXPECT_EQ(call.filter.limit, 7u);
  }
  EXPECT_EQ(std::get<ctl::Invocation>(parse({"failures", "show", "ab"})).command,
            ctl::Command::failures_show);
  EXPECT_EQ(std::get<ctl::Invocation>(parse({"failures", "top"})).command, ctl::Command::failures_top);
  EXPECT_EQ(std::get<ctl::Invocation>(parse({"failures", "clear"})).command, ctl::Command::failures_clear);
}

TEST(CommandLine, WrongUsageIsTwo) {
  for (const auto& words : {std::vector<const char*>{},
                            {"nonsense"},
                            {"drain"},
                            {"scale", "web", "x"},
                            {"failures", "-n", "0"},
                            {"failures", "-n", "1001"},
                            {"failures", "--kind", "foo"},
                            {"events", "-n", "0"}})
    EXPECT_EQ(std::get<ctl::Farewell>(parse(words)).code, ctl::Exit::usage);
  EXPECT_EQ(std::get<ctl::Farewell>(parse({"--version"})).text, "reforkctl 0.1.0\n");
}

TEST(CommandLine, AMistakeNamesTheHelpOfItsCommand) {
  EXPECT_THAT(std::get<ctl::Farewell>(parse({"failures", "show"})).text,
              HasSubstr("Try reforkctl failures show --help\n"));
  EXPECT_THAT(std::get<ctl::Farewell>(parse({})).text, HasSubstr("Try reforkctl --help\n"));
  EXPECT_THAT(std::get<ctl::Farewell>(parse({"--json"})).text, HasSubstr("expected a command, such as"));
  EXPECT_THAT(std::get<ctl::Farewell>(parse({"scale", "own", "x"})).text,
              HasSubstr("expected a number of workers, found \"x\""));
}

TEST(CommandLine, AKindIsOneOfThoseThatRecordsHave) {
  std::string all;
  for (const auto name : base::EnumNames<Kind>::names) {
    const std::string kind(name);
    all += (all.empty() ? "" : ", ") + kind;
    for (const auto& words : {std::vector{"failures", "--kind", kind.c_str()},
                              std::vector{"failures", "top", "--kind", kind.c_str()}})
      EXPECT_EQ(std::get<ctl::Invocation>(parse(words)).filter.kind, kind);
  }
  EXPECT_THAT(std::get<ctl::Farewell>(parse({"failures", "--kind", "foo"})).text,
              HasSubstr("no kind \"foo\"; there are: " + all));
  EXPECT_THAT(std::get<ctl::Farewell>(parse({"failures", "--help"})).text, HasSubstr("boot"));
}

TEST(CommandLine, SinceIsATimeOrHowLongAgo) {
  constexpr std::uint64_t now = 1'790'000'000'000;
  ::setenv("TZ", "UTC", 1);
  EXPECT_EQ(*ctl::parse_since("10m", now), now - 600'000);
  EXPECT_EQ(*ctl::parse_since("2d", now), now - 172'800'000);
  EXPECT_EQ(*ctl::parse_since("@1234", now), 1'234'000u);
  EXPECT_EQ(*ctl::parse_since("2026-09-21 14:13:20", now), now);
  EXPECT_EQ(*ctl::parse_since("2026-09-21", now), 1'789'948'800'000u);
  for (const char* text : {"", "m", "10x", "-5m", "2026-13-01", "99999999999999999d"})
    EXPECT_FALSE(ctl::parse_since(text, now)) << text;
}

class ProgramTest : public BusTest {
 protected:
  struct Said {
    int code = 0;
    std::string out, err;
  };
  Said reforkctl(std::vector<const char*> words, bool progress = false) {
    words.insert(words.end(), {"--control", path_.c_str()});
    return meanwhile([&] { return run(words, progress); });
  }
  static Said run(const std::vector<const char*>& words, bool progress) {
    Said said;
    const auto line = parse(words);
    if (const auto* farewell = std::get_if<ctl::Farewell>(&line)) return {farewell->code, "", farewell->text};
    ctl::Console console;
    console.out = [&](std::string_view text) { said.out += text; };
    console.err = [&](std::string_view text) { said.err += text; };
    console.progress = progress;
    console.now_ms = [] { return std::uint64_t{1'000'000}; };
    console.view.width = 120;
    said.code = ctl::run(std::get<ctl::Invocation>(line), console);
    return said;
  }
};

TEST_F(ProgramTest, StatusOfAStoppedServiceIsThree) {
  EXPECT_EQ(reforkctl({"status"}).code, 0);
  const auto said = reforkctl({"status", "api"});
  EXPECT_EQ(said.code, 3);
  EXPECT_THAT(said.out, HasSubstr("api: stopped"));
  EXPECT_THAT(said.out, ::testing::Not(HasSubstr("web-front")));
}

TEST_F(ProgramTest, AnUnknownServiceIsToldWhichThereAre) {
  const auto said = reforkctl({"status", "nosuch"});
  EXPECT_EQ(said.code, 1);
  EXPECT_EQ(said.err, "reforkctl: no service \"nosuch\"; there are: api, web-front.1\n");
}

TEST_F(ProgramTest, FailuresOfAServiceThatNeverWasAreAMistake) {
  for (const auto& words :
       {std::vector{"failures", "--service", "nosuch"}, std::vector{"failures", "top", "--service", "nosuch"},
        std::vector{"failures", "clear", "nosuch"}}) {
    const auto said = reforkctl(words);
    EXPECT_EQ(said.code, 1);
    EXPECT_EQ(said.err, reforkctl({"status", "nosuch"}).err);
  }
  EXPECT_EQ(reforkctl({"failures", "--service", "api"}).out, "No failures.\n");
  // One that was removed from the configuration may have left some.
  operations_.records = {R"({"id":"a1","service":"nosuch"})"};
  EXPECT_EQ(reforkctl({"failures", "--service", "nosuch"}).code, 0);
}

TEST_F(ProgramTest, TheMostFrequentFailuresAreShownAsTextAndAsJson) {
  operations_.groups = {R"({"count":3,"services":["api"],"type":"int","message":"7","id":"a1"})"};
  EXPECT_THAT(reforkctl({"failures", "top"}).out, HasSubstr("int: 7"));
  EXPECT_EQ(reforkctl({"failures", "top", "--json", "--since", "1s", "--service", "api", "--limit", "2"}).out,
            "[\n" + operations_.groups[0] + "\n]\n");
  EXPECT_EQ(operations_.filter.since_ms, 999'000u);
  EXPECT_EQ(operations_.filter.service, "api");
  EXPECT_EQ(operations_.filter.limit, 2u);
  operations_.groups.clear();
  EXPECT_EQ(reforkctl({"failures", "top"}).out, "No failures.\n");
}

TEST_F(ProgramTest, WithoutADaemonTheWordsSayWhereItWasLookedFor) {
  bus_.reset();
  const auto said = run({"status", "--control", path_.c_str()}, false);
  EXPECT_EQ(said.code, 5);
  EXPECT_EQ(said.err, "reforkctl: no reforkd at " + path_ +
                          ": No such file or directory. Is it running? (systemctl status reforkd)\n");
}

TEST_F(ProgramTest, WhoMayNotConnectIsToldWhoMay) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  EXPECT_EQ(in_child([&] {
              if (::setgid(65533) < 0 || ::setuid(65533) < 0) return 98;
              const auto said = run({"status", "--control", path_.c_str()}, false);
              return said.err.find("Only root, the user of reforkd and members of the group refork may") ==
                             std::string::npos
                         ? 97
                         : said.code;
            }),
            4);
}

TEST_F(ProgramTest, WhatTheDaemonRefusesIsOne) {
  operations_.outcome = base::Error{ENOENT, "no service nosuch"};
  const auto said = reforkctl({"stop", "nosuch"});
  EXPECT_EQ(said.code, 1);
  EXPECT_EQ(said.err, "reforkctl: no service nosuch\n");
}

TEST_F(ProgramTest, ProgressIsShownOnATerminalWhileWaiting) {
  operations_.at_once = false;
  std::vector<const char*> words = {"reload", "web", "--control", path_.c_str()};
  auto result = std::async(std::launch::async, [&] { return run(words, true); });
  ASSERT_TRUE(turn_until([&] { return !operations_.pending.empty(); }));
  bus_->event({1, 1'000'000, "worker-ready", "web", 1, 18, 4730, "after 12 ms"});
  bus_->event({2, 1'000'000, "worker-ready", "other", 1, 19, 4731, "after 12 ms"});
  operations_.pending[0]({});
  ASSERT_TRUE(
      turn_until([&] { return result.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }));
  const auto said = result.get();
  EXPECT_EQ(said.code, 0);
  EXPECT_THAT(said.err, HasSubstr("\r\033[K1970-01-01 00:16:40 worker-ready web/1 worker 18"));
  EXPECT_THAT(said.err, ::testing::Not(HasSubstr("other")));
  EXPECT_THAT(said.err, ::testing::EndsWith("\r\033[Kweb: reload done\n"));
}

TEST_F(ProgramTest, ElsewhereSuccessIsSilentOrJson) {
  const auto plain = reforkctl({"stop", "web"});
  EXPECT_EQ(plain.out + plain.err, "");
  EXPECT_EQ(reforkctl({"stop", "web", "--json"}).out, "{\"result\":\"done\"}\n");
  EXPECT_EQ(reforkctl({"stop", "web", "--json", "--no-block"}).out, "{\"result\":\"accepted\"}\n");
}

TEST_F(ProgramTest, FailuresAreShownAsTextAndAsJson) {
  operations_.records = {R"({"id":"a1","time_ms":1000,"service":"web","kind":"boot","type":"exit"})"};
  EXPECT_THAT(reforkctl({"failures"}).out, HasSubstr("a1"));
  EXPECT_EQ(reforkctl({"failures", "--json", "--since", "1s", "--service", "web"}).out,
            "[\n" + operations_.records[0] + "\n]\n");
  EXPECT_EQ(operations_.filter.since_ms, 999'000u);
  EXPECT_EQ(operations_.filter.service, "web");
  EXPECT_THAT(reforkctl({"failures", "show", "a1"}).out, StartsWith("web/0 worker 0: exit\n"));
  EXPECT_EQ(reforkctl({"failures", "show", "zz"}).code, 1);
  EXPECT_EQ(reforkctl({"failures", "--since", "soon"}).code, 2);
  EXPECT_EQ(reforkctl({"failures", "clear"}).out, "Removed 1 record.\n");
}

TEST_F(ProgramTest, AMessageThatIsNoJsonIsNotSent) {
  EXPECT_EQ(reforkctl({"send", "web", "{"}).code, 2);
  EXPECT_EQ(reforkctl({"send", "web", "{\"a\":1}"}).code, 0);
  EXPECT_THAT(operations_.calls, ElementsAre("send {\"a\":1} web"));
}

TEST_F(ProgramTest, EventsStopAfterTheGivenNumber) {
  std::vector<const char*> words = {"events", "-n", "2", "--json", "--control", path_.c_str()};
  auto result = std::async(std::launch::async, [&] { return run(words, false); });
  ASSERT_TRUE(turn_until([&] {
    bus_->event({1, 1'000'000, "worker-ready", "web", 1, 18, 4730, "after 12 ms"});
    return result.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }));
  const auto said = result.get();
  EXPECT_EQ(said.code, 0);
  EXPECT_EQ(std::count(said.out.begin(), said.out.end(), '\n'), 2);
}

TEST_F(ProgramTest, EventsEndWithADaemonThatDoesNotComeBack) {
  const auto line = parse({"events", "--control", path_.c_str()});
  std::atomic<bool> heard = false;
  std::string err;
  ctl::Console console;
  console.out = [&](std::string_view) { heard = true; };
  console.err = [&](std::string_view text) { err += text; };
  console.now_ms = [] { return std::uint64_t{1'000'000}; };
  auto result =
      std::async(std::launch::async, [&] { return ctl::run(std::get<ctl::Invocation>(line), console); });
  ASSERT_TRUE(turn_until([&] {
    bus_->event({1, 1'000'000, "worker-ready", "web", 1, 18, 4730, "after 12 ms"});
    return heard.load();
  }));
  bus_->close();
  EXPECT_EQ(result.get(), 5);
  EXPECT_THAT(err, StartsWith("reforkctl: reforkd closed the connection; waiting for it to come back\n"
                              "reforkctl: no reforkd at " +
                              path_));
}

TEST_F(ProgramTest, CheckConfigNeedsNoDaemon) {
  const std::string file = directory_ + "/refork.json";
  std::ofstream(file) << R"({"services": {"web": {"command": ["/bin/true"], "workres": 2}}})";
  const auto wrong = run({"check-config", file.c_str()}, false);
  EXPECT_EQ(wrong.code, 1);
  EXPECT_THAT(wrong.err, StartsWith(file + ":1:"));
  EXPECT_THAT(run({"check-config", "--json", file.c_str()}, false).out, HasSubstr("\"ok\": false"));
  std::ofstream(file) << R"({"services": {"web": {"command": ["/bin/true"]}}})";
  const auto right = run({"check-config", file.c_str()}, false);
  EXPECT_EQ(right.code, 0) << right.err;
  EXPECT_EQ(right.out, file + ": ok, 1 service\n");
}

// What is not there is no mistake: the file may be checked elsewhere than it is used.
TEST_F(ProgramTest, CheckConfigWarnsOfWhatIsNotOnThisMachine) {
  const std::string file = directory_ + "/absent.json";
  std::ofstream(file) << R"({"services": {"web": {"command": ["/nowhere/server"], "user": "no-such-user",
      "directory": "/nowhere", "log": "file:/nowhere/web.log"}, "own": {"command": ["sh"], "directory": "/",
      "log": "file:/web.log"}}})";
  const auto ran = run({"check-config", file.c_str()}, false);
  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.err,
              HasSubstr(": warning: services.web.command: there is no program /nowhere/server here\n"));
  EXPECT_THAT(ran.err, HasSubstr(": warning: services.web.user: there is no user no-such-user here\n"));
  EXPECT_THAT(ran.err, HasSubstr(": warning: services.web.directory: there is no directory /nowhere here\n"));
  EXPECT_THAT(ran.err, HasSubstr(": warning: services.web.log: there is no directory /nowhere here\n"));
  EXPECT_THAT(ran.err, ::testing::Not(HasSubstr("services.own")));
}

}  // namespace
}  // namespace refork::bus
