// reforkd as a service among others: what systemd shows of it, keeps for it, and does to it.
#include <gmock/gmock.h>

#include "e2e/system/installed.h"

namespace refork::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::IsEmpty;

class Service : public Installed {};

TEST_F(Service, IsHealthyOnceInstalledAndConfigured) {
  EXPECT_EQ(machine_.output({"systemctl", "--failed", "--plain", "--no-legend"}), "");
  serve({{"web", web()}});
  EXPECT_EQ(http_get(kWeb, "/").body, "ok");
  EXPECT_EQ(property("ActiveState"), "active");
  EXPECT_EQ(property("UnitFileState"), "enabled");
  EXPECT_THAT(property("StatusText"), HasSubstr("2 workers"));
  EXPECT_EQ(machine_.output({"systemctl", "--failed", "--plain", "--no-legend"}), "");
  const auto mode = machine_.output({"stat", "-c", "%U:%G %a", "/run/refork/control", "/var/lib/refork"});
  EXPECT_EQ(mode, "root:refork 660\nroot:root 700");
}

TEST_F(Service, HasAnExposureOfAtMostThreePointNine) {
  const auto checked =
      machine_.run({"systemd-analyze", "security", "--no-pager", "--threshold=39", "reforkd.service"});
  EXPECT_EQ(checked.code, 0) << checked.out;
  EXPECT_EQ(machine_
                .run({"systemd-analyze", "verify", "/lib/systemd/system/reforkd.service",
                      "/lib/systemd/system/reforkd@.service"})
                .err,
            "");
}

TEST_F(Service, HasASandboxForItsWorkersThatADropInRelaxes) {
  const auto of_a_worker = [this] {
    return machine_.output({"grep", "NoNewPrivs", "/proc/" + std::to_string(pids().at(0)) + "/status"});
  };
  serve({{"web", web()}});
  EXPECT_THAT(of_a_worker(), HasSubstr("1"));
  const std::string drop_ins = "/etc/systemd/system/reforkd.service.d";
  machine_.output({"mkdir", "-p", drop_ins});
  machine_.output({"cp", "/usr/share/doc/reforkd/examples/relax.conf", drop_ins});
  machine_.output({"systemctl", "daemon-reload"});
  EXPECT_EQ(machine_.run({"systemd-analyze", "verify", "reforkd.service"}).err, "");
  machine_.output({"systemctl", "restart", "reforkd"});
  ASSERT_TRUE(wait_until_settled());
  EXPECT_EQ(http_get(kWeb, "/").status, 200);
  EXPECT_THAT(of_a_worker(), HasSubstr("0"));
  EXPECT_EQ(property("ProtectSystem"), "no");
}

TEST_F(Service, KeepsAsManyDescriptorsAfterAThousandReplacementsAsBefore) {
  json one = web();
  one["restart"] = {{"budget", {100000, "1s"}}};
  serve({{"web", one}});
  const auto kept = property("NFileDescriptorStore");
  EXPECT_NE(kept, "0");
  Process kills =
      machine_.start({"/bin/sh", "-c", "for i in $(seq 1000); do reforkctl kill web/0 || exit 1; done"});
  const auto killed = kills.wait(240s);
  ASSERT_TRUE(killed && killed->code == 0) << kills.errors();
  ASSERT_TRUE(wait_until_settled());
  EXPECT_TRUE(wait_until([&] { return property("NFileDescriptorStore") == kept; }))
      << property("NFileDescriptorStore") << " instead of " << kept;
  EXPECT_EQ(service()["restarts"], 1000);
}

TEST_F(Service, IsStoppedInTimeThoughAWorkerIgnoresItsDeadline) {
  json stubborn = web();
  stubborn["drain_deadline"] = "1s";
  serve({{"web", stubborn}});
  HttpConnection hanging(kWeb);
  ASSERT_TRUE(hanging.send_get("/hang"));
  ASSERT_TRUE(wait_for_in_flight(1));
  machine_.output({"systemctl", "stop", "reforkd"});
  EXPECT_EQ(property("Result"), "success");
  EXPECT_EQ(machine_.run({"pgrep", "-f", "/servers/"}).code, 1);
}

TEST_F(Service, IsGivenMoreTimeForALongDrainThanTheUnitSays) {
  machine_.write("/etc/systemd/system/reforkd.service.d/short.conf", "[Service]\nTimeoutStopSec=2s\n");
  machine_.output({"systemctl", "daemon-reload"});
  serve({{"web", web()}});
  HttpConnection slow(kWeb);
  ASSERT_TRUE(slow.send_get("/?delay=6000"));
  ASSERT_TRUE(wait_for_in_flight(1));
  machine_.output({"systemctl", "stop", "reforkd"});
  EXPECT_EQ(slow.read_answer().status, 200);
  EXPECT_EQ(property("Result"), "success");
}

TEST_F(Service, LeavesNoWorkerWhenItIsKilledInItsStop) {
  serve({{"web", web()}});
  HttpConnection hanging(kWeb);
  ASSERT_TRUE(hanging.send_get("/hang"));
  ASSERT_TRUE(wait_for_in_flight(1));
  machine_.output({"systemctl", "stop", "--no-block", "reforkd"});
  ASSERT_TRUE(wait_until([&] { return property("ActiveState") == "deactivating"; }));
  machine_.output({"systemctl", "kill", "--kill-whom=main", "-s", "KILL", "reforkd"});
  EXPECT_TRUE(wait_until([&] { return machine_.run({"pgrep", "-f", "/servers/"}).code == 1; }));
}

TEST_F(Service, StoppedWhileItCannotComeBackStartsAgainBesideWhatWasLeft) {
  json unlinked = {{"command", {"/guides/tutorial_unlinked"}}, {"ready", "exec"}, {"listen", {kWeb.text()}}};
  serve({{"web", unlinked}});
  machine_.write("/etc/refork/refork.json", "{ a mistake");
  machine_.output({"kill", "-KILL", std::to_string(main_pid())});
  ASSERT_TRUE(wait_until([&] { return property("NRestarts") != "0"; }));
  machine_.output({"systemctl", "stop", "reforkd"});
  serve({{"web", unlinked}});
  EXPECT_EQ(http_get(kWeb, "/").status, 200);
  EXPECT_EQ(machine_.output({"pgrep", "-c", "tutorial_unlink"}), "1");
}

TEST_F(Service, CanBeOneInstanceAConfiguration) {
  json other = web();
  other["listen"] = {"tcp://127.0.0.1:8081"};
  machine_.write("/etc/refork/shop.json", json{{"services", {{"shop", other}}}}.dump());
  serve({{"web", web()}});
  machine_.output({"systemctl", "start", "reforkd@shop"});
  EXPECT_EQ(http_get(Address::tcp(8081), "/").body, "ok");
  EXPECT_EQ(http_get(kWeb, "/").body, "ok");
  const auto listed = machine_.output({"reforkctl", "--control", "/run/refork-shop/control", "status"});
  EXPECT_THAT(listed, HasSubstr("shop"));
}

TEST_F(Service, IsStartedByTheFirstConnectionWhereSystemdListensForIt) {
  serve({{"web", web()}});
  machine_.output({"systemctl", "stop", "reforkd"});
  std::string socket = machine_.read("/usr/share/doc/reforkd/examples/reforkd.socket");
  const std::string example = "ListenStream=0.0.0.0:80\nListenStream=[::1]:8080\n";
  ASSERT_THAT(socket, HasSubstr(example));
  socket.replace(socket.find(example), example.size(), "ListenStream=127.0.0.1:8080\n");
  machine_.write("/etc/systemd/system/reforkd.socket", socket);
  machine_.output({"systemctl", "daemon-reload"});
  machine_.output({"systemctl", "start", "reforkd.socket"});
  EXPECT_EQ(property("ActiveState"), "inactive");
  EXPECT_EQ(http_get(kWeb, "/").body, "ok");
  EXPECT_EQ(property("ActiveState"), "active");
  // Its socket stays systemd's, so a stop refuses nobody either.
  machine_.output({"systemctl", "stop", "reforkd"});
  EXPECT_EQ(http_get(kWeb, "/").body, "ok");
}

TEST_F(Service, OfAUserRunsInItsOwnManager) {
  machine_.output({"useradd", "-m", "alice"});
  machine_.output({"loginctl", "enable-linger", "alice"});
  const auto systemctl = [&](std::vector<std::string> arguments) {
    std::vector<std::string> argv = {"env",
                                     "XDG_RUNTIME_DIR=/run/user/" + machine_.output({"id", "-u", "alice"})};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return machine_.as("alice", argv);
  };
  ASSERT_TRUE(wait_until([&] { return systemctl({"systemctl", "--user", "is-system-running"}).code == 0; }));
  json own = web();
  own.erase("user");
  machine_.write("/home/alice/.config/refork/refork.json", json{{"services", {{"own", own}}}}.dump());
  machine_.output({"chown", "-R", "alice:", "/home/alice/.config"});
  const auto started = systemctl({"systemctl", "--user", "start", "reforkd"});
  ASSERT_EQ(started.code, 0) << started.err << machine_.run({"journalctl", "--no-pager", "-n", "30"}).out;
  EXPECT_EQ(http_get(kWeb, "/").body, "ok");
  EXPECT_EQ(http_get(kWeb, "/error").status, 500);
  EXPECT_THAT(systemctl({"reforkctl", "status"}).out, HasSubstr("own"));
  EXPECT_TRUE(wait_until([&] {
    return systemctl({"reforkctl", "failures"}).out.find("exception") != std::string::npos;
  }));
  const auto stopped = systemctl({"systemctl", "--user", "stop", "reforkd"});
  EXPECT_EQ(stopped.code, 0) << stopped.err;
  EXPECT_EQ(machine_.run({"pgrep", "-f", "/servers/"}).code, 1);
}

}  // namespace
}  // namespace refork::test
