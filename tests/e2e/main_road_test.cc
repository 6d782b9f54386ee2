// The main road under load: an error in one request, and nobody else notices. Every request is counted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

struct Server {
  const char* program;
  int clients;
  // How its errors come: thrown, or, in C, reported; and those of its error handler.
  const char* kind = "exception";
  const char* type = "std::runtime_error";
  const char* handler_type = "std::logic_error";
};

void PrintTo(const Server& server, std::ostream* out) { *out << server.program; }

class MainRoad : public testing::TestWithParam<Server> {
 protected:
  static Daemon start(std::vector<std::string> options = {}) {
    options.insert(options.begin(), {"--workers", "4", "--reload-probation", "100ms"});
    return web_of(GetParam().program, std::move(options));
  }

  static LoadOptions load(const Daemon& daemon) {
    LoadOptions options;
    options.address = daemon.address();
    options.path = "/?delay=10";
    options.clients = GetParam().clients;
    options.culprit_rate = 5;
    return options;
  }

  // As many records as culprits; each tainted worker drained cleanly and is gone, its place taken by another.
  static void expect_each_culprit_recorded(const Daemon& daemon, std::uint64_t culprits) {
    ASSERT_TRUE(wait_until_settled(daemon)) << daemon.service();
    const json failures = complete_failures(daemon, culprits);
    EXPECT_EQ(failures.size(), culprits);
    std::set<pid_t> tainted;
    for (const auto& failure : failures) {
      EXPECT_EQ(failure["kind"], GetParam().kind);
      EXPECT_EQ(failure["drain"]["outcome"], "clean") << failure;
      EXPECT_THAT(cut_by(failure), testing::IsEmpty());
      tainted.insert(failure["pid"].get<pid_t>());
    }
    for (const pid_t pid : tainted) EXPECT_TRUE(wait_until_gone(pid)) << pid;
    EXPECT_EQ(daemon.service()["restarts"], tainted.size());
    EXPECT_THAT(daemon.pids(), testing::Each(testing::Not(testing::AnyOfArray(tainted))));
  }
};

TEST_P(MainRoad, ErrorsUnderFullLoadAreNoticedByNobodyButTheirClients) {
  const Daemon daemon = start();
  LoadOptions options = load(daemon);
  options.duration = 10s;
  options.culprit_path = "/error";
  const LoadResult result = run_load(options);
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
  EXPECT_GT(result.bystanders.ok(), 1000U) << result.summary();
  EXPECT_GE(result.culprits.sent, 45U) << result.summary();
  EXPECT_EQ(result.culprits.answers(500), result.culprits.sent) << result.summary();
  expect_each_culprit_recorded(daemon, result.culprits.sent);
}

TEST_P(MainRoad, DrainsThatMeetIdleConnectionsLoseNothing) {
  const Daemon daemon = start();
  LoadOptions options = load(daemon);
  options.duration = 5s;
  options.pause = 10ms;
  options.culprit_path = "/error";
  const LoadResult result = run_load(options);
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
  EXPECT_EQ(result.culprits.answers(500), result.culprits.sent) << result.summary();
  expect_each_culprit_recorded(daemon, result.culprits.sent);
}

TEST_P(MainRoad, FourReloadsUnderLoadLoseNothing) {
  const Daemon daemon = start();
  const auto before = daemon.pids();
  LoadOptions options = load(daemon);
  options.pause = 10ms;
  Load running(options);
  for (int i = 0; i < 4; ++i) {
    const auto reloaded = daemon.ctl({"reload", "web"});
    EXPECT_EQ(reloaded.code, 0) << reloaded.err;
  }
  const LoadResult result = running.stop();
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
  EXPECT_GT(result.bystanders.ok(), 100U) << result.summary();
  EXPECT_TRUE(wait_until_settled(daemon));
  EXPECT_EQ(daemon.service()["generation"], 5);
  EXPECT_THAT(daemon.pids(), testing::Each(testing::Not(testing::AnyOfArray(before))));
  EXPECT_EQ(daemon.failures().size(), 0U);
}

TEST_P(MainRoad, AnErrorAfterTheHeaderDropsThatConnectionAlone) {
  const Daemon daemon = start();
  LoadOptions options = load(daemon);
  options.duration = 3s;
  options.culprit_path = "/error-late";
  const LoadResult result = run_load(options);
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
  EXPECT_GE(result.culprits.sent, 10U);
  EXPECT_EQ(result.culprits.lost, result.culprits.sent) << result.summary();
  expect_each_culprit_recorded(daemon, result.culprits.sent);
}

TEST_P(MainRoad, AnErrorInTheErrorHandlerIsOneRecordWithBothErrors) {
  const Daemon daemon = start();
  EXPECT_NE(http_get(daemon.address(), "/error-handler").status, 200);
  const json failures = complete_failures(daemon, 1);
  ASSERT_EQ(failures.size(), 1U) << failures;
  EXPECT_EQ(failures[0]["kind"], "handler");
  EXPECT_EQ(failures[0]["type"], GetParam().handler_type);
  EXPECT_THAT(failures[0]["causes"].dump(), testing::HasSubstr(GetParam().type));
  EXPECT_EQ(failures[0]["drain"]["outcome"], "clean");
  EXPECT_TRUE(wait_until_settled(daemon));
}

// Beyond the lame duck nothing but a count can be promised.
TEST_P(MainRoad, ARequestThatCrossesTheCloseAfterTheLameDuckIsCounted) {
  Daemon daemon = web_of(GetParam().program, {"--workers", "2", "--lame-duck", "50ms"});
  HttpConnection idle(daemon.address());
  const std::string pid = idle.get("/pid").body;
  const auto pids = daemon.pids();
  const std::string slot = std::to_string(pids.at(0)) == pid ? "0" : "1";
  EXPECT_EQ(daemon.ctl({"--no-block", "drain", "web/" + slot}).code, 0);
  ASSERT_TRUE(idle.wait_closed());
  ASSERT_TRUE(idle.send_get("/"));
  EXPECT_TRUE(wait_until_gone(std::stoi(pid)));
  EXPECT_TRUE(wait_until_settled(daemon));
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 3U);
  EXPECT_EQ(ends[0].crossed + ends[1].crossed, 1U);
}

INSTANTIATE_TEST_SUITE_P(Servers, MainRoad,
                         testing::Values(Server{"http_asio", 64}, Server{"http_uv", 64},
                                         Server{"http_threads", 32},
                                         Server{"http_libevent", 64, "error", "doomed", "handler"}),
                         [](const auto& param) { return std::string(param.param.program); });

TEST(OneWorker, WhoseErrorsComeEverySecondRefusesNobody) {
  const Daemon daemon = web_of("http_asio", {"--workers", "1"});
  LoadOptions options;
  options.address = daemon.address();
  options.clients = 8;
  options.keep_alive = false;
  options.pause = 1ms;  // ports are few
  options.duration = 5s;
  options.culprit_path = "/error";
  options.culprit_rate = 1;
  const LoadResult result = run_load(options);
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
  EXPECT_EQ(result.culprits.answers(500), result.culprits.sent) << result.summary();
  EXPECT_TRUE(wait_until_settled(daemon));
  EXPECT_EQ(daemon.failures().size(), result.culprits.sent);
  EXPECT_EQ(daemon.service()["restarts"], result.culprits.sent);
}

}  // namespace
}  // namespace refork::test
