// Workers that reforkd looks after: loops that hang, requests that take too long, workers that have served
// enough.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <csignal>
#include <memory>
#include <vector>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

// Under a load of other tests a loop may be late: the sanitized ones are slow.
const std::string kWatchdog = kSanitized ? "2s" : "400ms";

Daemon beating() {
  return web_of(unlinked_server(), {"--workers", "1", "--ready", "notify", "--watchdog", kWatchdog},
                {"--watchdog"});
}

// The record of the one failure there is, of the kind that is meant, once its worker has ended and another
// one serves.
json the_one_failure(const Daemon& daemon, const std::string& kind) {
  const json failures = complete_failures(daemon, 1);
  EXPECT_EQ(failures.size(), 1U) << failures;
  EXPECT_TRUE(wait_until_settled(daemon));
  if (failures.empty()) return json::object();
  EXPECT_EQ(failures[0]["kind"], kind);
  return failures[0];
}

TEST(Hang, OfAWorkerWithoutLibreforkIsToldByItsThreadsAndEndedAndReplaced) {
  const Daemon daemon = beating();
  const pid_t pid = daemon.pids().at(0);
  HttpConnection hangs(daemon.address());
  ASSERT_TRUE(hangs.send_get("/hang"));
  const json hang = the_one_failure(daemon, "hang");
  EXPECT_EQ(hang["pid"], pid);
  EXPECT_THAT(hang["message"].get<std::string>(), StartsWith("its loop has not beaten for "));
  ASSERT_EQ(hang["threads"].size(), 1U) << hang;
  EXPECT_EQ(hang["threads"][0]["tid"], pid);
  EXPECT_EQ(hang["threads"][0]["name"], "unlinked_server");
  EXPECT_THAT(hang["threads"][0]["stack"][0]["function"].get<std::string>(), HasSubstr("sleeping"));
  EXPECT_EQ(hang["drain"]["requested"], "error");
  EXPECT_EQ(hang["drain"]["outcome"], "deadline");
  EXPECT_EQ(hang["exit"]["signal"], SIGKILL);
  EXPECT_NE(http_get(daemon.address(), "/").body, std::to_string(pid));
}

TEST(Hang, OfALoopOfLibreforkLeavesTheStacksOfAllThreadsAndTheRequestThatItHangsIn) {
  const Daemon daemon = web_of("http_asio", {"--watchdog", kWatchdog});
  // Only a loop that has beaten can hang: while this is answered it does, several times.
  ASSERT_EQ(http_get(daemon.address(), kSanitized ? "/?delay=4000" : "/?delay=1000").status, 200);
  HttpConnection waits(daemon.address()), hangs(daemon.address());
  ASSERT_TRUE(waits.send_get("/?delay=60000"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  ASSERT_TRUE(hangs.send_get("/hang"));
  const json hang = the_one_failure(daemon, "hang");
  EXPECT_EQ(hang["request"]["label"], "GET /hang") << "not the oldest of the thread's";
  EXPECT_EQ(hang["threads"][0]["request"], "GET /hang") << "those with a request first";
  EXPECT_GE(hang["threads"].size(), 2U) << "the loop's and librefork's own";
  EXPECT_TRUE(std::ranges::any_of(hang["stack"], [](const json& frame) { return frame["in_app"]; })) << hang;
  EXPECT_EQ(hang["drain"]["requested"], "error");
  EXPECT_THAT(cut_by(hang), testing::ElementsAre("GET /", "GET /hang"));
}

TEST(Hang, AStoppedProcessIsOne) {
  const Daemon daemon = beating();
  const pid_t pid = daemon.pids().at(0);
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  const json hang = the_one_failure(daemon, "hang");
  EXPECT_THAT(hang["threads"][0]["stack"][0]["function"].get<std::string>(), HasSubstr("stopped"));
}

// Programs that use up one processor, as long as they live. What little an idle thread gets beside them is
// its fair share: so many that it is not enough for its beats, whatever the scheduler still owes it.
class Spinners {
 public:
  explicit Spinners(const cpu_set_t& processor) {
    constexpr int kEnough = 64;
    for (int i = 0; i < kEnough; ++i) {
      Process::Options options;
      options.argv = {"/bin/sh", "-c", "while :; do :; done"};
      spinners_.push_back(std::make_unique<Process>(options));
      EXPECT_EQ(::sched_setaffinity(spinners_.back()->pid(), sizeof processor, &processor), 0);
    }
  }

 private:
  std::vector<std::unique_ptr<Process>> spinners_;
};

cpu_set_t first_processor() {
  cpu_set_t all, first;
  CPU_ZERO(&first);
  EXPECT_EQ(::sched_getaffinity(0, sizeof all, &all), 0);
  for (std::size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&first) == 0; ++i)
    if (CPU_ISSET(i, &all)) CPU_SET(i, &first);
  return first;
}

TEST(Hang, AWorkerThatGetsNoProcessorIsNone) {
  const Daemon daemon = beating();
  const Events events(daemon);
  const pid_t pid = daemon.pids().at(0);
  const cpu_set_t processor = first_processor();
  const sched_param none{};
  ASSERT_EQ(::sched_setaffinity(pid, sizeof processor, &processor), 0);
  ASSERT_EQ(::sched_setscheduler(pid, SCHED_IDLE, &none), 0);
  {
    const Spinners spinners(processor);
    constexpr std::chrono::seconds patience{40};
    ASSERT_TRUE(
        wait_until([&] { return events.all().find("\"worker-starved\"") != std::string::npos; }, patience))
        << daemon.log();
  }
  EXPECT_THAT(*events.line("\"worker-starved\""), HasSubstr("for a processor: left alone"));
  EXPECT_THAT(daemon.ctl({"why", "web/0"}).out, HasSubstr("for a processor: left alone"));
  EXPECT_EQ(daemon.failures().size(), 0U);
  // With processors again it is the same worker that serves, and that can hang.
  EXPECT_EQ(http_get(daemon.address(), "/").body, std::to_string(pid));
  HttpConnection hangs(daemon.address());
  ASSERT_TRUE(hangs.send_get("/hang"));
  const json failures = complete_failures(daemon, 1);
  ASSERT_EQ(failures.size(), 1U) << failures;
  EXPECT_EQ(failures[0]["kind"], "hang");
  EXPECT_EQ(failures[0]["pid"], pid);
}

TEST(Hang, ALoopThatBeatsIsLeftAlone) {
  const Daemon daemon = beating();
  const Events events(daemon);
  const auto before = daemon.pids();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(http_get(daemon.address(), "/").status, 200);
  EXPECT_EQ(daemon.pids(), before);
  EXPECT_EQ(daemon.failures().size(), 0U);
}

TEST(RequestTimeout, NamesTheRequestOnceAndReplacesItsWorker) {
  const Daemon daemon =
      web_of("http_threads", {"--request-timeout", "200ms", "--drain-deadline", "1s"}, {"--show-query"});
  const pid_t pid = daemon.pids().at(0);
  HttpConnection hangs(daemon.address());
  ASSERT_TRUE(hangs.send_get("/hang?token=7"));
  const json timeout = the_one_failure(daemon, "timeout");
  EXPECT_EQ(timeout["message"], "a request takes longer than 200 ms");
  EXPECT_EQ(timeout["request"]["label"], "GET /hang?token=[redacted]");
  EXPECT_GE(timeout["request"]["age_ms"], 200);
  EXPECT_EQ(timeout["in_flight_at_failure"], 1);
  EXPECT_EQ(timeout["drain"]["requested"], "error");
  EXPECT_EQ(timeout["drain"]["outcome"], "deadline");
  EXPECT_THAT(cut_by(timeout), testing::ElementsAre("GET /hang?token=[redacted]"));
  EXPECT_NE(daemon.pids().at(0), pid);
}

TEST(RequestTimeout, OfItsOwnCountsWhereTheServiceHasNone) {
  const Daemon daemon = web_of(odd_worker(), {"--workers", "1", "--drain-deadline", "300ms"});
  EXPECT_EQ(daemon.ctl({"send", "web/0", "\"a request in time\""}).code, 0);
  const json failures = complete_failures(daemon, 1);
  ASSERT_EQ(failures.size(), 1U) << failures;
  EXPECT_EQ(failures[0]["kind"], "timeout");
  EXPECT_EQ(failures[0]["message"], "a request takes longer than 50 ms");
  EXPECT_THAT(cut_by(failures[0]), testing::ElementsAre("a request in time"));
}

TEST(RequestTimeout, ARequestInTimeIsNone) {
  const Daemon daemon = web_of("http_threads", {"--request-timeout", "30s"});
  EXPECT_EQ(http_get(daemon.address(), "/?delay=300").status, 200);
  EXPECT_EQ(daemon.failures().size(), 0U);
}

TEST(Recycle, AWorkerThatHasServedEnoughIsReplacedWithoutAFailure) {
  Daemon daemon = web_of("http_threads", {"--recycle-requests", "20"});
  const Events events(daemon);
  const pid_t pid = daemon.pids().at(0);
  for (int i = 0; i < 22; ++i) ASSERT_EQ(http_get(daemon.address(), "/").status, 200);
  ASSERT_TRUE(events.wait_for("\"worker-recycled\""));
  EXPECT_THAT(*events.line("\"worker-recycled\""), HasSubstr("it has served "));
  EXPECT_TRUE(wait_until_gone(pid));
  EXPECT_TRUE(wait_until_settled(daemon));
  EXPECT_EQ(http_get(daemon.address(), "/").status, 200);
  EXPECT_EQ(daemon.failures().size(), 0U);
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_EQ(ends[0].requested, "recycle");
  EXPECT_EQ(ends[0].outcome, "clean");
}

TEST(Recycle, AllWorkersInTheirTurnByAge) {
  const Daemon daemon = web_of("http_threads", {"--workers", "3", "--recycle-age", "1s"});
  const auto before = daemon.pids();
  ASSERT_EQ(before.size(), 3U);
  for (const pid_t pid : before) EXPECT_TRUE(wait_until_gone(pid));
  EXPECT_EQ(daemon.failures().size(), 0U);
}

TEST(Recycle, ForMemory) {
  const Daemon daemon = web_of("http_threads", {"--recycle-memory", "1K"});
  EXPECT_TRUE(wait_until_gone(daemon.pids().at(0)));
  EXPECT_EQ(daemon.failures().size(), 0U);
}

}  // namespace
}  // namespace refork::test
