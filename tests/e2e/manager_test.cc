// reforkd under a service manager, which these tests play: what it is told, what it keeps, and what it gives
// to the next one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <map>
#include <sstream>

#include "e2e/scene.h"
#include "os/cgroup.h"
#include "os/fd_store.h"
#include "os/leaf_cgroups.h"
#include "os/listener.h"
#include "os/notify.h"

namespace refork::test {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;

// The manager's part of sd_notify(3): remembers what is said, and keeps descriptors.
class FakeManager {
 public:
  std::string room = "1000";  // for descriptors
  std::vector<std::string> environment() const {
    return {"NOTIFY_SOCKET=" + socket_.name(), "FDSTORE=" + room};
  }
  // Reads what was said; `word`: until that was said, since the last call of forget_words().
  bool wait_for(const std::string& word, milliseconds patience = kProcessPatience) {
    return wait_until([&] { return listen(), said_.contains(word); }, patience);
  }
  bool wait_for_status(const std::string& part) {
    return wait_until([&] { return listen(), said_["STATUS"].find(part) != std::string::npos; });
  }
  void listen() {
    while (auto said = socket_.receive()) obey(*said);
  }
  // Until nobody can say any more before it is read.
  void fill_up() const {
    os::FdStore filler(socket_.name());
    while (!filler.pending()) filler.say("FILLER=1");
  }
  void forget_words() { said_.clear(); }
  const std::map<std::string, std::string>& said() const { return said_; }
  std::size_t count(const std::string& word) const {
    return static_cast<std::size_t>(std::ranges::count(order_, word));
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, fd] : kept_) all.push_back(name);
    return all;
  }
  // For the next reforkd.
  void give_to(Process::Options& options) const {
    for (const auto& [name, fd] : kept_) {
      options.listeners.push_back(fd.get());
      options.listener_names.push_back(name);
    }
  }

 private:
  void obey(os::Notification& said) {
    const auto name = said.fields["FDNAME"];
    if (said.fields.contains("FDSTORE"))
      for (auto& fd : said.fds) kept_.emplace(name, std::move(fd));
    if (said.fields.contains("FDSTOREREMOVE")) kept_.erase(name);
    for (const auto& [word, value] : said.fields) {
      if (word.starts_with("FD")) continue;
      said_[word] = value;
      order_.push_back(word);
    }
  }

  os::NotifySocket socket_ = *os::NotifySocket::open_abstract();
  std::multimap<std::string, base::UniqueFd> kept_;
  std::map<std::string, std::string> said_;
  std::vector<std::string> order_;
};

class UnderAManager : public testing::Test {
 protected:
  void configure(const std::string& service) {
    std::ofstream(file_) << R"({"services": {"web": )" << service << "}}";
  }
  std::string service(const std::string& more = "") const {
    return R"({"command": [")" + built_program("examples/http_asio") + R"("], "workers": 2, "listen": [")" +
           listen_ + R"("])" + more + "}";
  }
  void start(const std::vector<std::string>& environment = {}) {
    Process::Options options;
    options.argv = {
        built_program("reforkd"), "--no-keeper", "--config", file_, "--control", control_, "--state-dir",
        directory_.file("state")};
    options.environment = manager_.environment();
    options.environment.insert(options.environment.end(), environment.begin(), environment.end());
    manager_.give_to(options);
    for (const auto& [name, fd] : given_) {
      options.listeners.push_back(fd);
      options.listener_names.push_back(name);
    }
    manager_.forget_words();
    reforkd_.emplace(std::move(options));
  }
  bool start_and_wait(const std::vector<std::string>& environment = {}) {
    start(environment);
    return manager_.wait_for("READY");
  }
  // A manager reads until its service has ended.
  Exit ended() {
    EXPECT_TRUE(wait_until([&] { return manager_.listen(), !reforkd_->running(); })) << reforkd_->errors();
    manager_.listen();
    return reforkd_->wait().value_or(Exit{});
  }
  Exit end_by(int signal) {
    reforkd_->signal(signal);
    return ended();
  }
  std::string bound() const { return ctl_status()["services"][0]["listen"][0]; }
  Address address() const { return *Address::parse(bound()); }
  Process ctl(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {built_program("reforkctl"), "--control", control_});
    Process::Options options;
    options.argv = std::move(arguments);
    return Process(std::move(options));
  }
  nlohmann::json ctl_status() const {
    auto process = ctl({"--json", "status"});
    process.wait();
    return nlohmann::json::parse(process.output(), nullptr, false);
  }
  void TearDown() override {
    if (!reforkd_) return;
    for (int i = 0; i < 50 && reforkd_->running(); ++i) {
      reforkd_->signal(SIGTERM);
      reforkd_->wait(milliseconds(200));
    }
  }

  TempDir directory_;
  const std::string file_ = directory_.file("refork.json"), control_ = directory_.file("control");
  std::string listen_ = "unix:" + directory_.file("web");
  FakeManager manager_;
  std::vector<std::pair<std::string, int>> given_;
  std::optional<Process> reforkd_;
};

TEST_F(UnderAManager, ItIsUpOnceItsServicesAreAndSaysHowTheyAre) {
  configure(service());
  ASSERT_TRUE(start_and_wait()) << reforkd_->errors();
  EXPECT_EQ(manager_.said().at("STATUS"), "1 service, 2 workers serving");
  EXPECT_TRUE(manager_.said().contains("EXTEND_TIMEOUT_USEC")) << "a start may take long";
  EXPECT_FALSE(manager_.said().contains("WATCHDOG")) << "nobody asked for it";
  EXPECT_EQ(http_get(address(), "/error").status, 500);
  EXPECT_TRUE(manager_.wait_for_status("1 failure since the start"));
}

TEST_F(UnderAManager, AServiceThatCannotStartHoldsUpNothing) {
  std::ofstream(file_) << R"({"services": {"web": )" << service()
                       << R"(, "bad": {"command": ["/bin/false"]}}})";
  ASSERT_TRUE(start_and_wait()) << reforkd_->errors();
  EXPECT_TRUE(manager_.wait_for_status("bad degraded"));
  EXPECT_THAT(manager_.said().at("STATUS"), HasSubstr("2 services"));
}

// No mistake of the file: who installs the program, or makes the user, need not start reforkd again.
TEST_F(UnderAManager, WhatAServiceNeedsAndIsNotThereIsAStartThatIsTriedAgain) {
  for (const std::string missing :
       {R"("command": ["/no/such/program"])", R"("command": ["/bin/cat"], "user": "no-such-user")",
        R"("command": ["/bin/cat"], "directory": "/no/such/directory")"}) {
    configure("{" + missing + R"(, "ready": "exec", "restart": {"backoff": ["10s", "30s"]}})");
    ASSERT_TRUE(start_and_wait()) << missing << reforkd_->errors();
    const auto service = ctl_status()["services"][0];
    EXPECT_EQ(service["state"], "degraded") << missing;
    EXPECT_EQ(service["workers"][0]["state"], "backoff") << missing;
    EXPECT_EQ(end_by(SIGTERM).code, 0);
  }
}

// Its workers and its environment know nothing of the manager.
TEST_F(UnderAManager, ItTellsThatItsLoopRunsUntilItStandsStill) {
  configure(service());
  ASSERT_TRUE(start_and_wait({"WATCHDOG_USEC=200000"})) << reforkd_->errors();
  const auto beats = manager_.count("WATCHDOG");
  EXPECT_TRUE(wait_until([&] { return manager_.listen(), manager_.count("WATCHDOG") >= beats + 3; }));
  const auto status = ctl_status();
  for (const auto& worker : status["services"][0]["workers"]) {
    std::ifstream in("/proc/" + std::to_string(worker["pid"].get<pid_t>()) + "/environ");
    const std::string environment(std::istreambuf_iterator<char>(in), {});
    EXPECT_THAT(environment,
                testing::Not(testing::AnyOf(HasSubstr("WATCHDOG_"), HasSubstr("NOTIFY_SOCKET"))));
    EXPECT_NE(environment, "");
  }
}

TEST_F(UnderAManager, ItsWatchdogIsNotItsOwnWhereItIsForAnotherProcess) {
  configure(service());
  ASSERT_TRUE(start_and_wait({"WATCHDOG_USEC=200000", "WATCHDOG_PID=1"}));
  EXPECT_FALSE(manager_.said().contains("WATCHDOG"));
}

TEST_F(UnderAManager, AStopSaysSoAndAsksForTimeWhileItsDrainLasts) {
  configure(service());
  ASSERT_TRUE(start_and_wait());
  manager_.forget_words();
  EXPECT_EQ(end_by(SIGTERM).code, 0);
  EXPECT_EQ(manager_.said().at("STOPPING"), "1");
  EXPECT_TRUE(manager_.said().contains("EXTEND_TIMEOUT_USEC"));
  EXPECT_FALSE(manager_.said().contains("READY"));
}

// As `systemctl restart` does it: stopped, and started with what was kept.
TEST_F(UnderAManager, ConnectionsWaitFromOneToTheNextAndSocketFilesStay) {
  configure(service());
  ASSERT_TRUE(start_and_wait());
  const auto there = address();
  end_by(SIGTERM);
  EXPECT_THAT(manager_.names(), testing::ElementsAre("web.listen.1")) << "and nothing of the workers";
  HttpConnection waits(there);
  ASSERT_TRUE(waits.send_get("/"));
  ASSERT_TRUE(start_and_wait()) << reforkd_->errors();
  EXPECT_EQ(waits.read_answer().status, 200);
}

TEST_F(UnderAManager, WhoIsKilledComesBackToItsWorkersAndWhatIsKeptIsExactAfterReplacements) {
  configure(service());
  ASSERT_TRUE(start_and_wait());
  auto names = manager_.names();
  const auto kept = names.size();
  EXPECT_EQ(kept, 2 * 3 + 1 + 3U)
      << "of two workers, a listener, the state, the history and the control socket";
  const auto pid = ctl_status()["services"][0]["workers"][0]["pid"];
  end_by(SIGKILL);
  ASSERT_TRUE(start_and_wait()) << reforkd_->errors();
  EXPECT_EQ(ctl_status()["services"][0]["workers"][0]["pid"], pid);
  for (int i = 0; i < 20; ++i) {
    auto kill = ctl({"kill", "web/0"});
    ASSERT_EQ(kill.wait()->code, 0) << kill.errors();
    manager_.listen();
  }
  EXPECT_TRUE(wait_until([&] { return manager_.listen(), manager_.names().size() == kept; }))
      << testing::PrintToString(manager_.names());
}

TEST_F(UnderAManager, AReloadIsOverWhenTheServicesAreAsTheConfigurationSays) {
  configure(service());
  ASSERT_TRUE(start_and_wait());
  manager_.forget_words();
  const auto before = ctl_status()["services"][0]["workers"][0]["id"];
  configure(service(R"(, "environment": {"A": "b"}, "reload": {"probation": "100ms"})"));
  auto reload = ctl({"daemon-reload"});
  EXPECT_EQ(reload.wait()->code, 0) << reload.errors();
  ASSERT_TRUE(manager_.wait_for("READY"));
  EXPECT_EQ(manager_.said().at("RELOADING"), "1");
  EXPECT_TRUE(manager_.said().contains("MONOTONIC_USEC"));
  const auto service = ctl_status()["services"][0];
  EXPECT_EQ(service["generation"], 2);
  EXPECT_EQ(service["state"], "running");
  EXPECT_GT(service["workers"].back()["id"], before);
}

TEST_F(UnderAManager, TheNextOneGivesWorkersTheSameLimitOfDescriptors) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{777, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  configure(service());
  const bool up = start_and_wait();
  ::setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_TRUE(up) << reforkd_->errors();
  const auto limit_of = [](const nlohmann::json& worker) {
    std::ifstream limits("/proc/" + std::to_string(worker["pid"].get<pid_t>()) + "/limits");
    std::string line;
    while (std::getline(limits, line) && !line.starts_with("Max open files")) continue;
    std::istringstream(line.substr(std::min(line.size(), std::string("Max open files").size()))) >> line;
    return line;
  };
  EXPECT_EQ(limit_of(ctl_status()["services"][0]["workers"].back()), "777");
  manager_.forget_words();
  configure(service(R"(, "environment": {"A": "b"}, "reload": {"probation": "100ms"})"));
  ASSERT_EQ(ctl({"daemon-reload"}).wait()->code, 0);
  ASSERT_TRUE(manager_.wait_for("READY"));
  const auto reloaded = ctl_status()["services"][0];
  EXPECT_EQ(reloaded["generation"], 2);
  EXPECT_EQ(limit_of(reloaded["workers"].back()), "777");
}

TEST_F(UnderAManager, AReloadOfAMistakeChangesNothing) {
  configure(service());
  ASSERT_TRUE(start_and_wait());
  manager_.forget_words();
  configure(R"({"comand": 1})");
  auto reload = ctl({"daemon-reload"});
  EXPECT_EQ(reload.wait()->code, 1);
  EXPECT_THAT(reload.errors(), HasSubstr("comand"));
  manager_.listen();
  EXPECT_FALSE(manager_.said().contains("RELOADING"));
}

TEST_F(UnderAManager, AReloadThatNarrowsAnAddressIsRefusedAndSaysWhatDoesIt) {
  listen_ = "tcp://0.0.0.0:0";
  configure(service());
  ASSERT_TRUE(start_and_wait());
  const auto all = bound();
  listen_ = "tcp://127.0.0.1" + all.substr(all.rfind(':'));
  configure(service());
  auto reload = ctl({"daemon-reload"});
  EXPECT_EQ(reload.wait()->code, 1);
  EXPECT_THAT(reload.errors(), AllOf(HasSubstr(listen_), HasSubstr("; " + all), HasSubstr("restarted")));
}

TEST_F(UnderAManager, AReloadIsNotSentIntoARestartThatWouldFailAsWell) {
  listen_ = "tcp://127.0.0.1:0";
  configure(service());
  ASSERT_TRUE(start_and_wait());
  const std::string mine = bound(), all = "tcp://0.0.0.0" + mine.substr(mine.rfind(':'));
  std::ofstream(file_) << R"({"services": {"web": )" << service() << R"(, "more": {"listen": [")" << all
                       << R"("], "command": ["/bin/cat"], "ready": "exec"}}})";
  auto reload = ctl({"daemon-reload"});
  EXPECT_EQ(reload.wait()->code, 1);
  EXPECT_THAT(reload.errors(), AllOf(HasSubstr(all), testing::Not(HasSubstr("restarted"))));
}

TEST_F(UnderAManager, AHangupReadsTheConfigurationAgain) {
  configure(service());
  ASSERT_TRUE(start_and_wait());
  manager_.forget_words();
  reforkd_->signal(SIGHUP);
  EXPECT_TRUE(manager_.wait_for("READY"));
  EXPECT_TRUE(manager_.said().contains("RELOADING"));
}

// With workers to come back to, the manager is to try again.
TEST_F(UnderAManager, AMistakeInTheConfigurationEndsItForGoodOnlyWhereNoWorkersWait) {
  configure(service());
  ASSERT_TRUE(start_and_wait());
  const auto pid = ctl_status()["services"][0]["workers"][0]["pid"];
  configure(R"({"comand": 1})");
  end_by(SIGKILL);
  start();
  EXPECT_EQ(ended().code, 1);
  configure(service());
  ASSERT_TRUE(start_and_wait());
  EXPECT_EQ(ctl_status()["services"][0]["workers"][0]["pid"], pid);
  end_by(SIGTERM);
  configure(R"({"comand": 1})");
  start();
  EXPECT_EQ(ended().code, 2);
}

// It comes in the turns that a reload still has to answer who asked for it.
TEST_F(UnderAManager, AStopWhileItExecutesItselfIsForTheNextOne) {
  configure(service());
  ASSERT_TRUE(start_and_wait());
  for (const int signal : {SIGSTOP, SIGHUP, SIGTERM, SIGCONT}) reforkd_->signal(signal);
  EXPECT_EQ(ended().code, 0);
  EXPECT_EQ(manager_.said().at("STOPPING"), "1");
  EXPECT_EQ(manager_.said().at("RELOADING"), "1") << "SIGHUP was first";
  EXPECT_THAT(manager_.names(), testing::ElementsAre("web.listen.1"));
}

// ---- a manager that is slow to read

TEST_F(UnderAManager, WhatAStopHasToSayIsWaitedFor) {
  configure(service());
  ASSERT_TRUE(start_and_wait());
  manager_.fill_up();
  reforkd_->signal(SIGTERM);
  ASSERT_TRUE(wait_until([&] { return ::access(control_.c_str(), F_OK) != 0; })) << "all else is done";
  EXPECT_EQ(ended().code, 0);
  EXPECT_EQ(manager_.said().at("EXIT_STATUS"), "0");
  EXPECT_THAT(manager_.names(), testing::ElementsAre("web.listen.1"));
}

TEST_F(UnderAManager, WhatAReloadHasToSayIsWaitedFor) {
  configure(service());
  ASSERT_TRUE(start_and_wait());
  manager_.forget_words();
  manager_.fill_up();
  reforkd_->signal(SIGHUP);
  const auto in_use = directory_.file("state") + "/refork.db-wal";
  ASSERT_TRUE(wait_until([&] { return ::access(in_use.c_str(), F_OK) != 0; })) << "all else is done";
  EXPECT_TRUE(manager_.wait_for("READY"));
  EXPECT_TRUE(manager_.said().contains("RELOADING"));
}

// ---- sockets that the manager opened

TEST_F(UnderAManager, ASocketOfTheServicesNameIsTakenForItsAddressAndItsFileIsLeftAlone) {
  const auto socket = os::ListenSocket::open(listen_, true);
  ASSERT_TRUE(socket);
  struct stat made {};
  ASSERT_EQ(::stat(directory_.file("web").c_str(), &made), 0);
  given_ = {{"web", socket->fd()}};
  configure(service());
  const auto is_served = [&] {
    struct stat now {};
    return http_get(address(), "/").status == 200 && ::stat(directory_.file("web").c_str(), &now) == 0 &&
           now.st_ino == made.st_ino;
  };
  ASSERT_TRUE(start_and_wait()) << reforkd_->errors();
  EXPECT_TRUE(is_served());
  end_by(SIGKILL);
  ASSERT_TRUE(start_and_wait()) << reforkd_->errors();
  EXPECT_TRUE(is_served());
  EXPECT_THAT(reforkd_->errors(), testing::Not(HasSubstr("nobody wants"))) << "it was given again";
  end_by(SIGTERM);
  EXPECT_EQ(::access(directory_.file("web").c_str(), F_OK), 0);
}

TEST_F(UnderAManager, ASocketThatSuitsNoAddressIsClosedWithAWarningThatSaysWhatToAdd) {
  const auto socket = os::ListenSocket::open("tcp://0.0.0.0:0", true);
  ASSERT_TRUE(socket);
  given_ = {{"web", socket->fd()}};
  configure(service());
  ASSERT_TRUE(start_and_wait()) << reforkd_->errors();
  EXPECT_THAT(reforkd_->errors(), HasSubstr("service web was given the socket " + socket->address()));
  EXPECT_THAT(reforkd_->errors(), HasSubstr("add \"" + socket->address() + "\" to \"listen\""));
  EXPECT_THAT(reforkd_->errors(), testing::Not(HasSubstr("nobody wants")));
  EXPECT_FALSE(socket->broken());
}

// It is the manager's, who gives it again: the operator has to decide.
TEST_F(UnderAManager, ASocketThatIsInTheWayOfAnAddressIsLeftAloneAndNamed) {
  const auto socket = os::ListenSocket::open("tcp://0.0.0.0:0", true);
  ASSERT_TRUE(socket);
  const auto port = socket->address().substr(socket->address().rfind(':'));
  given_ = {{"web", socket->fd()}};
  listen_ = "tcp://127.0.0.1" + port;
  configure(service());
  start();
  EXPECT_EQ(ended().code, 1);
  EXPECT_THAT(reforkd_->errors(), AllOf(HasSubstr(listen_ + ": the port is taken"),
                                        HasSubstr("service web was given the socket " + socket->address())));
  EXPECT_FALSE(socket->broken());
}

// The manager has the old one until it has heard that nobody wants it.
TEST_F(UnderAManager, AServiceOfAnotherNameHasTheSocketOfTheOneBefore) {
  listen_ = "tcp://127.0.0.1:0";
  configure(service());
  ASSERT_TRUE(start_and_wait()) << reforkd_->errors();
  listen_ = bound();
  end_by(SIGTERM);
  std::ofstream(file_) << R"({"services": {"shop": )" << service() << "}}";
  ASSERT_TRUE(start_and_wait()) << reforkd_->errors();
  EXPECT_EQ(bound(), listen_);
  EXPECT_EQ(http_get(address(), "/").status, 200);
  EXPECT_THAT(manager_.names(), testing::Contains("web.listen.1"));
}

TEST_F(UnderAManager, AnAddressThatIsNarrowedIsTheOneThatIsListenedOn) {
  listen_ = "tcp://0.0.0.0:0";
  configure(service());
  ASSERT_TRUE(start_and_wait()) << reforkd_->errors();
  const auto all = bound();
  end_by(SIGTERM);
  ASSERT_THAT(manager_.names(), testing::ElementsAre("web.listen.1"));
  const auto port = all.substr(all.rfind(':'));
  listen_ = "tcp://127.0.0.1" + port;
  configure(service());
  ASSERT_TRUE(start_and_wait()) << reforkd_->errors();
  EXPECT_EQ(bound(), listen_);
  EXPECT_EQ(http_get(address(), "/").status, 200);
  EXPECT_EQ(http_get(*Address::parse("tcp://127.0.0.2" + port), "/").status, 0) << "as 0.0.0.0 would answer";
  end_by(SIGKILL);  // its workers have the old one, too
  listen_ = "tcp://0.0.0.0" + port;
  configure(service(R"(, "reload": {"probation": "0s"})"));
  ASSERT_TRUE(start_and_wait()) << reforkd_->errors();
  EXPECT_EQ(http_get(*Address::parse("tcp://127.0.0.2" + port), "/").status, 200);
}

// ---- no manager

TEST_F(UnderAManager, WithoutARoomForDescriptorsAStopLeavesNothingBehind) {
  configure(service());
  manager_.room = "0";
  ASSERT_TRUE(start_and_wait());
  end_by(SIGTERM);
  EXPECT_NE(::access(directory_.file("web").c_str(), F_OK), 0);
}

// ---- who is spared when memory runs out

// What OOMScoreAdjust= makes of reforkd, as its child has it from this process.
class OomScore {
 public:
  explicit OomScore(int score) : before_(of("self")) { set(score); }
  OomScore(const OomScore&) = delete;
  OomScore& operator=(const OomScore&) = delete;
  ~OomScore() { set(before_); }
  static int of(const std::string& process) {
    int score = 0;
    std::ifstream("/proc/" + process + "/oom_score_adj") >> score;
    return score;
  }

 private:
  static void set(int score) { std::ofstream("/proc/self/oom_score_adj") << score; }
  int before_;
};

// Only a privileged process can be spared; others still have what they were offered last.
TEST_F(UnderAManager, WorkersHaveItsScoreUnlessThatSparesIt) {
  const OomScore offered(300), spared(-500);
  configure(service());
  ASSERT_TRUE(start_and_wait()) << reforkd_->errors();
  const int own = OomScore::of(std::to_string(reforkd_->pid()));
  EXPECT_NE(own, 0);
  const auto status = ctl_status();
  ASSERT_EQ(status["services"][0]["workers"].size(), 2U) << status;
  for (const auto& worker : status["services"][0]["workers"])
    EXPECT_EQ(OomScore::of(std::to_string(worker["pid"].get<pid_t>())), std::max(own, 0));
}

// ---- what a stopped reforkd has left

// A unit's cgroup as systemd makes it, with workers that nobody ended: one in its leaf, one beside all
// leaves.
class LeftUnit : public testing::Test {
 protected:
  void SetUp() override {
    if (os::own_cgroup().empty() || ::mkdir(unit_.c_str(), 0755) != 0 ||
        !os::LeafCgroups::in_delegated(unit_))
      GTEST_SKIP() << "no cgroup2 that can be divided";
    ASSERT_EQ(::mkdir((unit_ + "/.control").c_str(), 0755), 0);
    ASSERT_EQ(::mkdir((unit_ + "/web.1").c_str(), 0755), 0);
    in_leaf_.emplace(in("/web.1", "echo there; exec sleep 1000"));
    beside_.emplace(in("", "echo there; exec sleep 1000"));
    ASSERT_TRUE(in_leaf_->wait_for_line("there"));
    ASSERT_TRUE(beside_->wait_for_line("there"));
  }
  void TearDown() override {
    for (auto* left : {&in_leaf_, &beside_})
      if (*left) (*left)->signal(SIGKILL), (*left)->wait();
    for (const auto* leaf : {"/.control", "/web.1", ""}) ::rmdir((unit_ + leaf).c_str());
  }
  Process in(const std::string& cgroup, const std::string& command,
             std::vector<std::string> environment = {}) const {
    Process::Options options;
    options.argv = {"/bin/sh", "-c", "echo $$ >" + unit_ + cgroup + "/cgroup.procs; " + command};
    options.environment = std::move(environment);
    return Process(std::move(options));
  }
  // As ExecStopPost= does it.
  Exit clean_up_after(const std::string& result) const {
    auto process =
        in("/.control", "exec " + built_program("reforkd") + " --clean-up", {"SERVICE_RESULT=" + result});
    return process.wait().value_or(Exit{});
  }

  const std::string unit_ = os::own_cgroup() + "/refork-test-unit-" + std::to_string(::getpid());
  std::optional<Process> in_leaf_, beside_;
};

TEST_F(LeftUnit, EndsWhatIsInItOnceItIsStopped) {
  EXPECT_EQ(clean_up_after("success").code, 0);
  for (auto* left : {&in_leaf_, &beside_}) {
    const auto exit = (*left)->wait();
    ASSERT_TRUE(exit);
    EXPECT_EQ(exit->signal, SIGTERM);
  }
  EXPECT_NE(::access((unit_ + "/web.1").c_str(), F_OK), 0) << "its leaf is left";
}

TEST_F(LeftUnit, IsLeftAloneWhereReforkdComesBack) {
  EXPECT_EQ(clean_up_after("signal").code, 0);
  EXPECT_TRUE(in_leaf_->running());
  EXPECT_TRUE(beside_->running());
}

TEST(CleanUp, WhereNoUnitIsStoppedNothingIsTouched) {
  Process::Options options;
  options.argv = {built_program("reforkd"), "--clean-up"};
  options.environment = {"SERVICE_RESULT=success"};
  Process process(std::move(options));
  const auto exit = process.wait();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->code, 0) << process.errors();
}

}  // namespace
}  // namespace refork::test
