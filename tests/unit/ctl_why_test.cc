// What `why` shows, to the letter.
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

#include "ctl/json.h"
#include "ctl/render.h"

namespace refork::ctl {
namespace {

constexpr std::uint64_t midday = 1'790'078'400'000;  // 12:00:00 UTC

class WhyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
  }
  View view{0, false, midday + 192'000};
};

HistoryEntry entry(std::uint64_t ms, std::uint64_t worker, const std::string& what, const std::string& text) {
  HistoryEntry made;
  made.time_ms = midday + ms;
  made.slot = 1;
  made.worker = worker;
  made.what = what;
  made.text = text;
  return made;
}

Why one_error() {
  Why why;
  why.service = {"web", "running", 1, 2, 1, 1, {}, "", "", {}};
  why.service.workers = {{16, "web", 0, 4241, "serving", 1, 0, 9, false, midday, 0, 0, 0, ""},
                         {17, "web", 1, 4242, "serving", 1, 0, 9, false, midday + 190'914, 0, 0, 0, ""}};
  why.slot = 1;
  why.history = {entry(190'912, 12, "failure", "exception"), entry(190'914, 17, "worker-started", "started"),
                 entry(190'914, 12, "worker-draining", "drains: error"),
                 entry(191'400, 12, "worker-ended", "drained after 488 ms, exited with code 1")};
  why.history[0].detail = "std::runtime_error: bad header";
  why.history[0].failure = why.history[1].failure = why.history[2].failure = why.history[3].failure = "01f3";
  why.history[1].instead_of = 12;
  why.history[1].duration_ms = 31;
  why.history[3].completed = 3;
  why.history[3].cut = 0;
  return why;
}

TEST_F(WhyTest, AnErrorIsThreeLines) {
  EXPECT_EQ(
      render_why(one_error(), view),
      "web/1: serving, worker 17 (pid 4242) since 12:03:10\n"
      "  12:03:10.912  worker 12 failed: exception std::runtime_error: bad header (failure 01f3)\n"
      "  12:03:10.914  worker 17 started in its place, ready after 31 ms\n"
      "  12:03:11.400  worker 12 drained after 488 ms, exited with code 1, 3 requests finished, 0 cut\n");
}

TEST_F(WhyTest, OfAServiceEachLineSaysItsSlot) {
  auto why = one_error();
  why.slot = -1;
  why.history[1].instead_of = 11;
  why.history.resize(2);
  EXPECT_EQ(render_why(why, view),
            "web: running, 2/2 serving\n"
            "  12:03:10.912  /1  worker 12 failed: exception std::runtime_error: bad header (failure 01f3)\n"
            "  12:03:10.914  /1  worker 17 started in place of worker 11, ready after 31 ms\n");
}

TEST_F(WhyTest, ADeathIsNotToldTwiceButForTheRequestsItCut) {
  auto why = one_error();
  why.history = {entry(1, 12, "failure", "signal"), entry(1, 12, "worker-ended", "killed by SIGKILL")};
  why.history[0].detail = "killed by SIGKILL";
  why.history[0].failure = why.history[1].failure = "01f3";
  why.history[1].cut = 0;
  const std::string first = "  12:00:00.001  worker 12 failed: signal killed by SIGKILL (failure 01f3)\n";
  EXPECT_EQ(render_why(why, view), "web/1: serving, worker 17 (pid 4242) since 12:03:10\n" + first);
  why.history[1].cut = 2;
  EXPECT_EQ(render_why(why, view), "web/1: serving, worker 17 (pid 4242) since 12:03:10\n" + first +
                                       "  12:00:00.001  worker 12 ended: killed by SIGKILL, 2 cut\n");
}

TEST_F(WhyTest, StartsThatFailAlikeAreToldOnceWithTheirNumber) {
  auto why = one_error();
  why.history.clear();
  for (std::uint64_t worker = 2; worker <= 4; ++worker) {
    why.history.push_back(entry(worker * 1000, worker, "worker-started", "started"));
    why.history.push_back(entry(worker * 1000 + 5, worker, "failure", "boot"));
    why.history.back().detail = "exited with code 3";
    why.history.back().failure = "0" + std::to_string(worker);
    why.history.push_back(entry(worker * 1000 + 5, worker, "worker-backoff", "next start in 1 s"));
  }
  const std::string head = "web/1: serving, worker 17 (pid 4242) since 12:03:10\n";
  EXPECT_EQ(render_why(why, view),
            head +
                "  12:00:04.000  worker 4 started\n"
                "  12:00:04.005  worker 4 failed: boot exited with code 3 (failure 04), 3 times\n"
                "  12:00:04.005  worker 4: next start in 1 s\n");
  auto with_error = why;
  with_error.history[0] = entry(2003, 2, "failure", "exception");
  with_error.history[0].detail = "no password";
  EXPECT_NE(render_why(with_error, view).find("worker 2 failed: exception no password"), std::string::npos);
  why.history[4].detail = "exited with code 4";
  EXPECT_EQ(render_why(why, view).find("times"), std::string::npos);
}

TEST_F(WhyTest, ASlotInBackoffSaysUntilWhenAndWhy) {
  auto why = one_error();
  why.service.workers[1] = {0, "web", 1, 0, "backoff", 1, 0, 0, false, 0, 0, midday + 195'500, 0, ""};
  why.conditions = {
      {1, 0, "backoff", "waits for its next start after 2 failed starts: exec /w: gone", midday + 195'500}};
  why.history = {entry(190'000, 12, "worker-started", "started")};
  why.history[0].waited_ms = 389;
  why.history[0].waited_for = "its backoff";
  why.history[0].instead_of = 11;
  EXPECT_EQ(
      render_why(why, view),
      "web/1: backoff until 12:03:15\n"
      "  waits for its next start after 2 failed starts: exec /w: gone, until 12:03:15.500 (in 3500 ms)\n"
      "  12:03:10.000  worker 12 started in place of worker 11 after 389 ms of backoff\n");
}

TEST_F(WhyTest, AStoppedServiceSaysByWhom) {
  auto why = one_error();
  why.slot = -1;
  why.service.state = "stopped";
  why.service.workers.clear();
  why.conditions = {{-1, 0, "stopped", "stopped: no worker is wanted", 0}};
  why.history = {entry(5'000, 0, "operator", "stop, asked for by uid 1000"),
                 entry(5'001, 17, "worker-draining", "drains: stop"),
                 entry(5'002, 0, "service-state", "stopped")};
  why.history[0].slot = why.history[2].slot = -1;
  why.history[1].by = "uid 1000";
  EXPECT_EQ(render_why(why, view),
            "web: stopped, 0/2 serving\n"
            "  stopped: no worker is wanted (12:00:05.000 stop, asked for by uid 1000)\n"
            "  12:00:05.000  stop, asked for by uid 1000\n"
            "  12:00:05.001  /1  worker 17 drains: stop, asked for by uid 1000\n"
            "  12:00:05.002  the service is stopped\n");
}

TEST_F(WhyTest, ADrainThatWaitedSaysHowLongAndForWhat) {
  auto why = one_error();
  why.history[2].waited_ms = 12'000;
  why.history[2].waited_for = "serves on, tainted: storm";
  why.conditions = {{-1, 0, "storm", "storm", midday + 193'000}, {1, 17, "waiting", "is to be replaced", 0}};
  EXPECT_EQ(
      render_why(why, view),
      "web/1: serving, worker 17 (pid 4242) since 12:03:10\n"
      "  storm, until 12:03:13.000 (in 1000 ms)\n"
      "  worker 17 is to be replaced\n"
      "  12:03:10.912  worker 12 failed: exception std::runtime_error: bad header (failure 01f3)\n"
      "  12:03:10.914  worker 17 started in its place, ready after 31 ms\n"
      "  12:03:10.914  worker 12 drains: error, after 12s (serves on, tainted: storm)\n"
      "  12:03:11.400  worker 12 drained after 488 ms, exited with code 1, 3 requests finished, 0 cut\n");
}

TEST_F(WhyTest, WhatAWorkerSaidCannotDriveATerminalAndNoLineIsTooWide) {
  auto why = one_error();
  why.history[0].detail = "evil \033[2J" + std::string(300, 'x');
  why.history[0].count = 50;
  why.conditions = {{1, 17, "waiting", "\033[31m" + std::string(300, 'x'), 0}};
  EXPECT_EQ(render_why(why, view).find('\033'), std::string::npos);
  view.width = 60;
  const std::string text = render_why(why, view);
  for (std::size_t start = 0; start < text.size(); start = text.find('\n', start) + 1)
    EXPECT_LE(columns(text.substr(start, text.find('\n', start) - start)), view.width);
}

TEST_F(WhyTest, TheRestartsOfReforkdAreALineOfTheirOwn) {
  auto why = one_error();
  why.history = {entry(0, 0, "reforkd-started", "reforkd was started again, and goes on with 2 workers")};
  EXPECT_NE(
      render_why(why, view).find("12:00:00.000  reforkd was started again, and goes on with 2 workers\n"),
      std::string::npos);
  why.history[0].count = 3;
  EXPECT_NE(render_why(why, view).find("2 workers, 3 times\n"), std::string::npos);
}

TEST_F(WhyTest, WithoutAPastItIsSaid) {
  auto why = one_error();
  why.history.clear();
  EXPECT_EQ(render_why(why, view),
            "web/1: serving, worker 17 (pid 4242) since 12:03:10\n"
            "  Nothing has happened to it yet.\n");
}

TEST_F(WhyTest, InJsonWhatDoesNotApplyIsNull) {
  auto why = one_error();
  why.history.resize(1);
  const std::string json = why_json(why);
  for (const char* part : {R"("slot": 1)", R"("state": "running")", R"("failure": "01f3")", R"("pid": null)",
                           R"("completed": null)", R"("waited_ms": null)", R"("conditions": [])"})
    EXPECT_NE(json.find(part), std::string::npos) << part << json;
  EXPECT_EQ(json.find("4241"), std::string::npos) << "of this slot's workers only";
}

}  // namespace
}  // namespace refork::ctl
