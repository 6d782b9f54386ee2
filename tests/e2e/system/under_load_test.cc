// What may befall a service between requests of a load that counts each of them: nobody notices.
#include <gmock/gmock.h>

#include <algorithm>
#include <regex>

#include "e2e/system/installed.h"

namespace refork::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::AnyOf;
using testing::AnyOfArray;
using testing::Each;
using testing::Not;
using testing::SizeIs;
using testing::UnorderedElementsAreArray;

class UnderLoad : public Installed {
 protected:
  // Until so many more requests have been answered.
  static void serve_more(const Load& load, std::uint64_t count = 200) {
    const auto enough = load.ok() + count;
    EXPECT_TRUE(wait_until([&] { return load.ok() >= enough; }));
  }
  void kill(pid_t pid, const std::string& signal = "KILL") const {
    machine_.output({"kill", "-" + signal, std::to_string(pid)});
  }
};

TEST_F(UnderLoad, ErrorsAreAnsweredRecordedAndNoticedByNobodyElse) {
  serve({{"web", web()}});
  LoadOptions options = load();
  options.culprit_path = "/error";
  options.culprit_rate = 5;
  options.duration = 4s;
  const LoadResult result = run_load(options);
  expect_unnoticed(result);
  EXPECT_EQ(result.culprits.answers(500), result.culprits.sent) << result.summary();
  ASSERT_TRUE(wait_until_settled());
  ASSERT_TRUE(wait_for_failures(result.culprits.sent));
  EXPECT_THAT(failures(), SizeIs(result.culprits.sent));
  EXPECT_EQ(property("NRestarts"), "0");
}

TEST_F(UnderLoad, AContainedCrashIsNoticedByNobodyElse) {
  serve({{"web", web("http_threads", {"--contain-faults"})}});
  Load load(UnderLoad::load());
  serve_more(load);
  EXPECT_EQ(http_get(kWeb, "/crash").status, 500);
  serve_more(load);
  expect_unnoticed(load.stop());
  ASSERT_TRUE(wait_for_failures(1));
  EXPECT_EQ(failures()[0]["kind"], "signal");
  EXPECT_EQ(failures()[0]["request"]["label"], "GET /crash");
}

TEST_F(UnderLoad, AKilledWorkerTakesNobodyWithItButTheRequestsItHad) {
  serve({{"web", web()}});
  std::vector<LostRequest> lost;
  LoadOptions options = UnderLoad::load();
  options.path = "/pid?delay=5";
  options.on_lost = [&lost](const LostRequest& request) { lost.push_back(request); };
  Load load(options);
  serve_more(load);
  const auto killed = pids().at(0);
  kill(killed);
  ASSERT_TRUE(wait_until([&] { return std::ranges::count(pids(), killed) == 0; }));
  const auto gone = Clock::now();
  serve_more(load);
  const LoadResult result = load.stop();
  ASSERT_TRUE(wait_for_failures(1));
  ASSERT_TRUE(wait_until([&] { return failures()[0]["exit"].is_object(); }));
  const json failure = failures()[0];
  EXPECT_EQ(failure["kind"], "signal");
  // Of each client one at most: those that are named, and those that stood in its sockets unread, which
  // nobody can name.
  EXPECT_LE(result.noticed(), static_cast<std::uint64_t>(options.clients)) << result.summary() << failure;
  for (const auto& request : lost) {
    EXPECT_LE(request.begun, gone);
    EXPECT_THAT(request.last_body, AnyOf("", std::to_string(killed))) << "a connection of another worker";
  }
  EXPECT_EQ(result.bystanders.refused + result.bystanders.hung, 0U) << result.summary();
  EXPECT_TRUE(wait_until_settled());
}

TEST_F(UnderLoad, AKilledReforkdComesBackToItsLivingWorkers) {
  serve({{"web", web()}});
  const auto workers = pids();
  const auto killed = main_pid();
  Load load(UnderLoad::load());
  serve_more(load);
  kill(killed);
  ASSERT_TRUE(
      wait_until([&] { return property("NRestarts") == "1" && property("ActiveState") == "active"; }));
  serve_more(load);
  expect_unnoticed(load.stop());
  EXPECT_NE(main_pid(), killed);
  EXPECT_THAT(pids(), UnorderedElementsAreArray(workers));
  EXPECT_THAT(failures(), SizeIs(0));
}

TEST_F(UnderLoad, AStuckReforkdIsStartedAgainByTheWatchdog) {
  machine_.write("/etc/systemd/system/reforkd.service.d/watchdog.conf", "[Service]\nWatchdogSec=2s\n");
  machine_.output({"systemctl", "daemon-reload"});
  serve({{"web", web()}});
  const auto workers = pids();
  const auto stuck = main_pid();
  Load load(UnderLoad::load());
  serve_more(load);
  kill(stuck, "STOP");
  ASSERT_TRUE(
      wait_until([&] { return property("NRestarts") == "1" && property("ActiveState") == "active"; }));
  serve_more(load);
  expect_unnoticed(load.stop());
  EXPECT_THAT(pids(), UnorderedElementsAreArray(workers));
}

TEST_F(UnderLoad, SystemctlReloadTakesOverAChangedConfiguration) {
  serve({{"web", web()}});
  const auto before = pids();
  const auto reforkd = main_pid();
  Load load(UnderLoad::load());
  serve_more(load);
  json changed = web();
  changed["workers"] = 3;
  changed["environment"] = {{"CHANGED", "yes"}};
  machine_.write("/etc/refork/refork.json", json{{"services", {{"web", changed}}}}.dump());
  machine_.output({"systemctl", "reload", "reforkd"});
  ASSERT_TRUE(wait_until_settled());
  serve_more(load);
  expect_unnoticed(load.stop());
  EXPECT_THAT(pids(), SizeIs(3));
  EXPECT_THAT(pids(), Each(Not(AnyOfArray(before))));
  EXPECT_EQ(main_pid(), reforkd);
}

TEST_F(UnderLoad, SystemctlRestartLosesNoRequest) {
  serve({{"web", web()}});
  const auto before = pids();
  Load load(UnderLoad::load());
  serve_more(load);
  machine_.output({"systemctl", "restart", "reforkd"});
  serve_more(load);
  expect_unnoticed(load.stop());
  EXPECT_THAT(pids(), Each(Not(AnyOfArray(before))));
  EXPECT_THAT(failures(), SizeIs(0));
}

TEST_F(UnderLoad, SystemctlStopAnswersWhatWasUnderWay) {
  serve({{"web", web()}});
  std::vector<std::unique_ptr<HttpConnection>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<HttpConnection>(kWeb));
    ASSERT_TRUE(clients.back()->send_get("/?delay=1500"));
  }
  ASSERT_TRUE(wait_for_in_flight(clients.size()));
  machine_.output({"systemctl", "stop", "reforkd"});
  for (const auto& client : clients) EXPECT_EQ(client->read_answer().status, 200);
  EXPECT_EQ(property("Result"), "success");
  EXPECT_EQ(http_get(kWeb, "/").error, "refused");
  EXPECT_EQ(machine_.run({"pgrep", "-f", "/servers/"}).code, 1) << "a worker was left";
}

TEST_F(UnderLoad, AnUpgradeExecutesTheNewVersionBesideTheSameWorkers) {
  serve({{"web", web()}});
  const auto workers = pids();
  const auto reforkd = main_pid();
  const auto version = ctl({"status"})["daemon"]["version"];
  Load load(UnderLoad::load());
  serve_more(load);
  const auto upgraded = machine_.sh("apt-get install -y /newer/reforkd_*.deb /newer/librefork0_*.deb");
  EXPECT_EQ(upgraded.code, 0) << upgraded.out << upgraded.err;
  EXPECT_TRUE(wait_until([&] { return ctl({"status"})["daemon"]["version"] != version; }));
  serve_more(load);
  expect_unnoticed(load.stop());
  EXPECT_EQ(main_pid(), reforkd);
  EXPECT_EQ(property("NRestarts"), "0");
  EXPECT_THAT(pids(), UnorderedElementsAreArray(workers));
  // What comes now is of the new version too.
  EXPECT_EQ(machine_.run({"systemctl", "restart", "reforkd"}).code, 0);
  EXPECT_TRUE(wait_until_settled());
}

}  // namespace
}  // namespace refork::test
