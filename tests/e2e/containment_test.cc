// Memory faults under load, contained: the culprit is answered, and nobody else notices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <set>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

TEST(ContainedFaults, UnderFullLoadAreNoticedByNobodyButTheirClients) {
  const Daemon daemon = web_of("http_threads", {"--workers", "4"}, {"--contain-faults"});
  LoadOptions options;
  options.address = daemon.address();
  options.path = "/?delay=10";
  options.clients = 32;
  options.duration = 10s;
  options.culprit_path = "/crash";
  options.culprit_rate = 2;
  const LoadResult result = run_load(options);
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
  EXPECT_GT(result.bystanders.ok(), 500U) << result.summary();
  EXPECT_GE(result.culprits.sent, 18U) << result.summary();
  EXPECT_EQ(result.culprits.answers(500), result.culprits.sent) << result.summary();

  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.service();
  const json failures = complete_failures(daemon, result.culprits.sent);
  EXPECT_EQ(failures.size(), result.culprits.sent);
  std::set<pid_t> crashed;
  for (const auto& failure : failures) {
    EXPECT_EQ(failure["kind"], "signal") << failure;
    EXPECT_EQ(failure["fault"]["signal"], SIGSEGV);
    EXPECT_EQ(failure["request"]["label"], "GET /crash");
    EXPECT_EQ(failure["exit"]["signal"], SIGSEGV) << failure["exit"];
    EXPECT_THAT(cut_by(failure), testing::IsEmpty());
    EXPECT_THAT(failure["stack"].dump(), testing::HasSubstr("example::crash"));
    crashed.insert(failure["pid"].get<pid_t>());
  }
  EXPECT_EQ(daemon.service()["restarts"], crashed.size());
}

TEST(ContainedFaults, LetARequestUnderWayFinishInTheSameWorker) {
  const Daemon daemon = web_of("http_threads", {"--workers", "1"}, {"--contain-faults"});
  HttpConnection slow(daemon.address());
  ASSERT_TRUE(slow.send_get("/?delay=1500"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  EXPECT_EQ(http_get(daemon.address(), "/crash").status, 500);
  EXPECT_EQ(slow.read_answer().status, 200);
  EXPECT_TRUE(wait_until_settled(daemon));
  EXPECT_EQ(complete_failures(daemon, 1).size(), 1U);
}

TEST(ContainedFaults, WithoutTheOptionEndTheProcessAtOnce) {
  const Daemon daemon = web_of("http_threads", {"--workers", "2"});
  EXPECT_NE(http_get(daemon.address(), "/crash").status, 500);
  EXPECT_EQ(http_get(daemon.address(), "/").status, 200);
  const json failures = complete_failures(daemon, 1);
  ASSERT_EQ(failures.size(), 1U);
  EXPECT_EQ(failures[0]["kind"], "signal");
  EXPECT_EQ(failures[0]["request"]["label"], "GET /crash");
}

}  // namespace
}  // namespace refork::test
