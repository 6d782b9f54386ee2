// reforkd dies, again and again, at any moment and under load; so do its keeper and its workers meanwhile. No
// request is lost, every failure is recorded once, no descriptor is left over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "base/unique_fd.h"
#include "e2e/scene.h"
#include "state/memory.h"

namespace refork::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
namespace fs = std::filesystem;

constexpr int kDeaths = kSanitized ? 20 : 100;

// What a process holds, by kind: how many pidfds, memories of which name, sockets, files of which path.
using Descriptors = std::map<std::string, std::size_t>;

Descriptors descriptors_of(pid_t pid) {
  Descriptors all;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd", error)) {
    const std::string target = fs::read_symlink(entry.path(), error).native();
    // "socket:[4711]" is a socket; "anon_inode:[pidfd]" and "/memfd:refork-state (deleted)" are their names.
    const bool numbered = target.starts_with("socket:") || target.starts_with("pipe:");
    ++all[numbered ? target.substr(0, target.find(':')) : target];
  }
  return all;
}

// Once it holds exactly these again; what it holds otherwise is told.
testing::AssertionResult holds(const std::function<pid_t()>& pid, const Descriptors& wanted) {
  Descriptors found;
  if (wait_until([&] { return (found = descriptors_of(pid())) == wanted; }))
    return testing::AssertionSuccess();
  auto failure = testing::AssertionFailure();
  for (const auto& [kind, count] : wanted)
    if (!found.contains(kind)) failure << "none of " << count << " " << kind << "\n";
  for (const auto& [kind, count] : found)
    failure << count << " " << kind << (wanted.contains(kind) ? ", before " : ", before none")
            << (wanted.contains(kind) ? std::to_string(wanted.at(kind)) : "") << "\n";
  return failure;
}

bool is_helper(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/comm");
  std::string name;
  std::getline(file, name);
  return name.starts_with("refork-symboli");
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "stat");
    std::string line;
    if (!std::getline(file, line)) continue;
    std::istringstream rest(line.substr(line.rfind(')') + 2));
    std::string state;
    pid_t ppid = 0;
    if (rest >> state >> ppid && ppid == parent && state != "Z" && !is_helper(entry.path().filename()))
      found.push_back(std::stoi(entry.path().filename()));
  }
  return found;
}

// The one that the keeper has started last; by /proc, for it may not answer yet.
pid_t reforkd_of(const Daemon& daemon, pid_t keeper) {
  std::set<pid_t> workers;
  for (const pid_t pid : daemon.pids()) workers.insert(pid);
  for (const pid_t pid : children_of(keeper))
    if (!workers.contains(pid)) return pid;
  return 0;
}

std::set<std::string> ids_of(const json& failures) {
  std::set<std::string> ids;
  for (const auto& failure : failures) ids.insert(failure["id"].get<std::string>());
  return ids;
}

// Of which reforkd, in whichever of its lives, has told in its log. One that dies between telling it and
// noting that it has done so is followed by one that tells it again.
std::set<std::string> told_failures(const Daemon& daemon) {
  std::set<std::string> ids;
  std::istringstream log(daemon.log());
  constexpr std::string_view word = ": exception ";  // and the id, and ": what()"
  for (std::string line; std::getline(log, line);) {
    const auto at = line.find(word);
    if (at == std::string::npos) continue;
    const auto begin = at + word.size();
    ids.insert(line.substr(begin, line.find(':', begin) - begin));
  }
  return ids;
}

LoadOptions load_with_errors(const Daemon& daemon, double rate) {
  LoadOptions options;
  options.address = daemon.address();
  options.path = "/?delay=5";
  options.clients = 8;
  options.culprit_path = "/error";
  options.culprit_rate = rate;
  return options;
}

TEST(Survival, OfManyDeathsUnderLoadCostsNoRequestNoRecordAndNoDescriptor) {
  Daemon daemon =
      web_of("http_asio", {"--workers", "4", "--restart-budget", "1000,10s", "--lame-duck", "200ms"});
  const pid_t keeper = daemon.process().pid();
  EXPECT_EQ(http_get(daemon.address(), "/error").status, 500);
  // Measured, before and after, of a reforkd that found everything done and has started nothing itself.
  complete_failures(daemon, 1);
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  daemon.kill();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  const auto keeper_fds = descriptors_of(keeper), fds = descriptors_of(daemon.pid());

  std::mt19937 random(4711);
  Load load(load_with_errors(daemon, 10));
  for (int death = 0; death < kDeaths; ++death) {
    const auto moment = Clock::now() + std::chrono::microseconds(random() % 150'000);
    pid_t pid = 0;
    ASSERT_TRUE(wait_until([&] { return (pid = reforkd_of(daemon, keeper)) != 0; }));
    std::this_thread::sleep_until(moment);  // the moment is the test
    ::kill(pid, SIGKILL);
    ASSERT_TRUE(wait_until_gone(pid));
  }
  const auto result = load.stop();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
  EXPECT_EQ(result.culprits.answers(500), result.culprits.sent) << result.summary();

  const std::size_t culprits = result.culprits.answers(500) + 1;
  const json failures = complete_failures(daemon, culprits);
  EXPECT_EQ(failures.size(), culprits) << result.summary();
  EXPECT_EQ(ids_of(failures).size(), failures.size());
  for (const auto& failure : failures) EXPECT_EQ(failure["kind"], "exception") << failure;
  EXPECT_EQ(daemon.service()["failures"], culprits) << "counted once";
  EXPECT_EQ(told_failures(daemon), ids_of(failures)) << "told";
  EXPECT_EQ(daemon.service()["workers"].size(), 4U);
  EXPECT_TRUE(holds([&] { return keeper; }, keeper_fds)) << "the keeper";
  daemon.kill();
  ASSERT_TRUE(wait_until_settled(daemon));
  EXPECT_TRUE(holds([&] { return daemon.pid(); }, fds)) << "reforkd";
  EXPECT_TRUE(holds([&] { return keeper; }, keeper_fds)) << "the keeper";
  EXPECT_TRUE(wait_until([&] { return children_of(keeper).size() == 5; })) << "four workers and reforkd";
  std::set<std::uint64_t> ended;
  for (const auto& end : ends_after_stop(daemon)) EXPECT_TRUE(ended.insert(end.worker).second);
}

TEST(Survival, WithoutErrorsTheWorkersStayTheSameProcesses) {
  Daemon daemon = web_of("http_threads", {"--workers", "4"});
  const auto before = daemon.pids();
  auto options = load_with_errors(daemon, 1);
  options.culprit_path.clear();
  Load load(options);
  for (int i = 0; i < 10; ++i) daemon.kill();
  EXPECT_EQ(load.stop().noticed(), 0U);
  EXPECT_EQ(daemon.pids(), before);
}

TEST(Survival, OfItsKeepersDeathReforkdStartsAnotherOne) {
  Daemon daemon = web_of("http_asio", {"--workers", "2"});
  const auto workers = daemon.pids();
  const pid_t reforkd = daemon.pid();
  for (int round = 0; round < 3; ++round) {
    const auto keepers = round == 0 ? std::vector<pid_t>{daemon.process().pid()} : children_of(daemon.pid());
    pid_t keeper = 0;
    for (const pid_t pid : keepers)
      if (std::ranges::find(workers, pid) == workers.end()) keeper = pid;
    ASSERT_NE(keeper, 0);
    ASSERT_EQ(::kill(keeper, SIGKILL), 0);
    ASSERT_TRUE(wait_until([&] {
      const auto children = children_of(reforkd);
      return children.size() == 3 && std::ranges::find(children, keeper) == children.end();
    })) << daemon.log();
    EXPECT_EQ(daemon.pids(), workers);
  }
  // The new one does what the old one did.
  daemon.kill();
  EXPECT_EQ(daemon.pids(), workers);
  EXPECT_NE(daemon.pid(), reforkd);
  EXPECT_EQ(http_get(daemon.address(), "/error").status, 500);
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_TRUE(daemon.wait_for_failures(1));
  const pid_t last = daemon.pid();
  ASSERT_EQ(::kill(last, SIGTERM), 0);
  EXPECT_TRUE(wait_until_gone(last)) << daemon.log();
}

// ---- a worker that dies while nobody watches

// On a kernel that tells nobody but their parent how processes ended.
Daemon web_on_an_older_kernel() {
  Daemon daemon = Daemon::of_program(
      built_program("tests/without_pidfd_info"),
      {"--workers", "1", "--listen", "tcp://127.0.0.1:0", "--", built_program("examples/http_threads")});
  EXPECT_TRUE(wait_until_settled(daemon)) << daemon.log();
  return daemon;
}

class DeathMeanwhile : public testing::TestWithParam<bool> {
 protected:
  static Daemon start() {
    return GetParam() ? web_on_an_older_kernel() : web_of("http_threads", {"--workers", "1"});
  }
};

TEST_P(DeathMeanwhile, IsKnownToTheNextReforkd) {
  Daemon daemon = start();
  const pid_t worker = daemon.pids().at(0), reforkd = daemon.pid();
  HttpConnection hangs(daemon.address());
  ASSERT_TRUE(hangs.send_get("/hang"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  daemon.process().signal(SIGSTOP);
  ASSERT_EQ(::kill(reforkd, SIGKILL), 0);
  ASSERT_TRUE(wait_until_gone(reforkd));
  ASSERT_EQ(::kill(worker, SIGKILL), 0);
  ASSERT_TRUE(wait_until_gone(worker));
  daemon.process().signal(SIGCONT);
  ASSERT_TRUE(wait_until([&] { return daemon.pid() > 1 && daemon.pid() != reforkd; })) << daemon.log();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  const json failures = complete_failures(daemon, 1);
  ASSERT_EQ(failures.size(), 1U);
  EXPECT_EQ(failures[0]["kind"], "signal") << failures[0];
  EXPECT_EQ(failures[0]["exit"]["signal"], SIGKILL);
  EXPECT_THAT(cut_by(failures[0]), testing::ElementsAre("GET /hang"));
  const auto pids = daemon.pids();
  ASSERT_EQ(pids.size(), 1U);
  EXPECT_NE(pids[0], worker);
  const auto ends = ends_after_stop(daemon);
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_EQ(ends[0].cause, "signal");
  EXPECT_EQ(ends[0].signal, SIGKILL);
}

INSTANTIATE_TEST_SUITE_P(Survival, DeathMeanwhile, testing::Bool(),
                         [](const auto& one) { return one.param ? "ByTheKeeper" : "ByTheKernel"; });

// ---- a worker that dies while whoever is its parent does not reap it

// Adopted by its keeper, which stands still.
class Unreaped : public testing::Test {
 protected:
  Unreaped() {
    daemon_.kill();
    EXPECT_TRUE(wait_until_settled(daemon_)) << daemon_.log();
    worker_ = daemon_.pids().at(0);
    daemon_.process().signal(SIGSTOP);
  }
  ~Unreaped() override { daemon_.process().signal(SIGCONT); }

  Daemon daemon_ = web_of(odd_worker(), {"--workers", "1"}, {"obey"});
  pid_t worker_ = 0;
};

TEST_F(Unreaped, ASignalIsKnownNonetheless) {
  ASSERT_EQ(::kill(worker_, SIGKILL), 0);
  const json failures = complete_failures(daemon_, 1);
  ASSERT_EQ(failures.size(), 1U);
  EXPECT_EQ(failures[0]["kind"], "signal") << failures;
  EXPECT_EQ(failures[0]["exit"]["signal"], SIGKILL);
  EXPECT_TRUE(wait_until_settled(daemon_)) << daemon_.log();
  EXPECT_NE(daemon_.pids().at(0), worker_);
}

TEST_F(Unreaped, AReplacementDoesNotWaitForWhatCannotBeKnown) {
  const auto told = [this](std::string_view text) { return daemon_.log().find(text) != std::string::npos; };
  ASSERT_EQ(daemon_.ctl({"send", "web/0", "\"exit 0\""}).code, 0);
  EXPECT_TRUE(wait_until([&] { return told("has ended, how is not known yet"); })) << daemon_.log();
  daemon_.process().signal(SIGCONT);
  ASSERT_TRUE(wait_until([&] { return told(" while serving"); })) << daemon_.log();
  const std::string log = daemon_.log();
  EXPECT_LT(log.find("web/0 worker 2 "), log.find(" while serving")) << log;
}

// ---- daemon-reexec

TEST(Reexec, UnderLoadLosesNothingAndKeepsThePid) {
  Daemon daemon =
      web_of("http_asio", {"--workers", "4", "--restart-budget", "1000,10s", "--lame-duck", "200ms"});
  const pid_t before = daemon.pid();
  Load load(load_with_errors(daemon, 10));
  for (int i = 0; i < 20; ++i) {
    const auto ran = daemon.ctl({"daemon-reexec"});
    ASSERT_EQ(ran.code, 0) << ran.err << daemon.log();
    EXPECT_EQ(daemon.pid(), before);
  }
  const auto result = load.stop();
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  const json failures = complete_failures(daemon, result.culprits.answers(500));
  EXPECT_EQ(failures.size(), result.culprits.answers(500));
  EXPECT_EQ(result.culprits.answers(500), result.culprits.sent) << result.summary();
}

TEST(Reexec, WithoutAKeeperWorksAsWell) {
  Daemon daemon = web_of("http_threads", {"--workers", "2", "--no-keeper"});
  const auto pids = daemon.pids();
  const pid_t before = daemon.pid();
  ASSERT_EQ(daemon.ctl({"daemon-reexec"}).code, 0);
  EXPECT_EQ(daemon.pids(), pids);
  EXPECT_EQ(daemon.pid(), before);
  ASSERT_EQ(::kill(pids[0], SIGKILL), 0);
  EXPECT_TRUE(daemon.wait_for([&](const json& service) {
    return service["state"] == "running" && service["workers"][0]["pid"] != pids[0];
  }));
  EXPECT_EQ(complete_failures(daemon, 1)[0]["exit"]["signal"], SIGKILL);
}

TEST(Reexec, IsNoNewStartOfReforkd) {
  Daemon daemon = web_of("http_threads", {"--workers", "1"});
  const json before = daemon.status()["daemon"]["started_ms"];
  EXPECT_GT(before, 0);
  ASSERT_EQ(daemon.ctl({"daemon-reexec"}).code, 0);
  // Of whole hundredths of a second, reckoned from two clocks.
  EXPECT_NEAR(daemon.status()["daemon"]["started_ms"].get<double>(), before.get<double>(), 50);
  EXPECT_THAT(daemon.ctl({"why", "web"}).out,
              testing::HasSubstr("reforkd executed itself anew, and goes on with 1 worker"));
  daemon.kill();
  EXPECT_THAT(daemon.ctl({"why", "web"}).out, testing::HasSubstr("reforkd was started again"));
  ASSERT_EQ(daemon.ctl({"daemon-reexec"}).code, 0);
  EXPECT_THAT(daemon.ctl({"why", "web"}).out, testing::HasSubstr("reforkd executed itself anew"))
      << "though the worker is no child of it any more";
}

TEST(Reexec, OfAWorkerThatTheKeeperReapsTheEndIsStillKnown) {
  Daemon daemon = web_on_an_older_kernel();
  const pid_t worker = daemon.pids().at(0);
  daemon.kill();  // the keeper is its parent now
  ASSERT_EQ(daemon.ctl({"daemon-reexec"}).code, 0);
  ASSERT_EQ(::kill(worker, SIGKILL), 0);
  const json failures = complete_failures(daemon, 1);
  ASSERT_EQ(failures.size(), 1U) << daemon.log();
  EXPECT_EQ(failures[0]["kind"], "signal") << failures[0];
  EXPECT_EQ(failures[0]["exit"]["signal"], SIGKILL) << failures[0];
}

TEST(Reexec, TellsThoseWhoWaitThatTheirOrderGoesOn) {
  Daemon daemon = web_of("http_threads", {"--workers", "1"});
  HttpConnection busy(daemon.address());
  ASSERT_TRUE(busy.send_get("/?delay=1000"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  Process::Options options;
  options.argv = {built_program("reforkctl"), "--control", daemon.control(), "drain", "web/0"};
  Process waits(std::move(options));
  ASSERT_TRUE(daemon.wait_for([](const json& service) { return service["workers"].size() == 2; }));
  ASSERT_EQ(daemon.ctl({"daemon-reexec"}).code, 0);
  const auto exit = waits.wait();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->code, 1);
  EXPECT_THAT(waits.errors(), testing::HasSubstr("goes on"));
  EXPECT_EQ(busy.read_answer().status, 200);
  EXPECT_TRUE(wait_until_settled(daemon));
}

TEST(Reexec, IsRefusedWithAConfigurationThatHasMistakes) {
  const TempDir dir;
  const std::string file = dir.file("refork.json");
  Daemon daemon = Daemon::with_config("{\"services\": {\"web\": {\"command\": [\"" +
                                      built_program("examples/http_threads") +
                                      "\"], \"listen\": [\"tcp://127.0.0.1:0\"]}}}");
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  const auto pids = daemon.pids();
  std::ofstream(daemon.directory().file("refork.json"))
      << "{ \"services\": { \"web\": { \"wrokers\": 4 } } }";
  const auto ran = daemon.ctl({"daemon-reexec"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, testing::HasSubstr("2 mistakes"));
  EXPECT_THAT(ran.err, testing::HasSubstr("refork.json:1:"));
  EXPECT_EQ(daemon.pids(), pids);
}

TEST(Reexec, IsRefusedWhereAnAddressIsTaken) {
  const auto config = [](const std::string& addresses) {
    return "{\"services\": {\"web\": {\"command\": [\"" + built_program("examples/http_threads") +
           "\"], \"listen\": [\"tcp://127.0.0.1:0\"" + addresses + "]}}}";
  };
  Daemon daemon = Daemon::with_config(config(""));
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  const auto pids = daemon.pids();
  const pid_t reforkd = daemon.pid();
  const auto [taken, port] = listen_tcp();
  std::ofstream(daemon.directory().file("refork.json")) << config(", \"" + Address::tcp(port).text() + "\"");
  const auto ran = daemon.ctl({"daemon-reexec"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, testing::HasSubstr("the port is taken"));
  EXPECT_EQ(daemon.pids(), pids);
  EXPECT_EQ(daemon.pid(), reforkd);
  std::ofstream(daemon.directory().file("refork.json")) << config(", \"tcp://127.0.0.1:0\"");
  EXPECT_EQ(daemon.ctl({"daemon-reexec"}).code, 0);
}

std::string one_service(const std::string& program) {
  return "{\"services\": {\"web\": {\"command\": [\"" + program +
         "\"], \"listen\": [\"tcp://127.0.0.1:0\"]}}}";
}

bool reload_failed(const json& service) {
  return service["why"].is_string() && service["why"].get<std::string>().find("failed") != std::string::npos;
}

TEST(Reexec, WithTheConfigurationThatServesForgetsThatTheReloadOfAnotherFailed) {
  const std::string good = one_service(built_program("examples/http_threads"));
  Daemon daemon = Daemon::with_config(good);
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  std::ofstream(daemon.directory().file("refork.json")) << one_service("/bin/false");
  ASSERT_EQ(daemon.ctl({"daemon-reexec"}).code, 0);
  ASSERT_TRUE(daemon.wait_for(reload_failed)) << daemon.service();
  std::ofstream(daemon.directory().file("refork.json")) << good;
  ASSERT_EQ(daemon.ctl({"daemon-reexec"}).code, 0);
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_FALSE(reload_failed(daemon.service())) << daemon.service();
}

TEST(Reexec, KeepsThatAReloadOfTheSameConfigurationFailed) {
  const TempDir dir;
  const std::string program = dir.file("server");
  const auto install = [&program](const std::string& what) {
    std::ofstream(program + ".new") << "#!/bin/sh\nexec " << what << "\n";
    std::filesystem::permissions(program + ".new", std::filesystem::perms::owner_all);
    std::filesystem::rename(program + ".new", program);
  };
  install(built_program("examples/http_threads"));
  Daemon daemon = Daemon::with_config(one_service(program));
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  install("false");
  EXPECT_EQ(daemon.ctl({"reload", "web"}).code, 1);
  ASSERT_EQ(daemon.ctl({"daemon-reexec"}).code, 0);
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_TRUE(reload_failed(daemon.service())) << daemon.service();
}

// ---- another configuration in the next life

std::string two_services(const std::string& first, const std::string& second) {
  const auto service = [](const std::string& name, const std::string& more) {
    return "\"" + name + "\": {\"command\": [\"" + built_program("examples/http_threads") +
           "\"], \"lame_duck\": \"100ms\"" + more + "}";
  };
  return "{\"services\": {" + service("web", first) + (second.empty() ? "" : ", " + service("api", second)) +
         "}}";
}

TEST(NextLife, FollowsTheConfigurationThatItFinds) {
  const std::string kept = free_tcp_address(), left = free_tcp_address(), fresh = free_tcp_address();
  Daemon daemon =
      Daemon::with_config(two_services(", \"workers\": 3, \"listen\": [\"" + kept + "\", \"" + left + "\"]",
                                       ", \"workers\": 2, \"listen\": [\"tcp://127.0.0.1:0\"]"));
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  ASSERT_TRUE(daemon.wait_for_state("running", "api"));
  const auto api = daemon.pids("api");
  std::ofstream(daemon.directory().file("refork.json"))
      << two_services(", \"workers\": 2, \"listen\": [\"" + kept + "\", \"" + fresh + "\"]", "");
  daemon.kill();
  for (const pid_t pid : api) EXPECT_TRUE(wait_until_gone(pid));
  EXPECT_TRUE(wait_until([&] { return daemon.service("api").is_null(); }));
  ASSERT_TRUE(daemon.wait_for([](const json& service) {
    return service["state"] == "running" && service["generation"] == 2 && service["workers"].size() == 2;
  })) << daemon.log();
  EXPECT_EQ(http_get(*Address::parse(kept), "/").status, 200);
  EXPECT_EQ(http_get(*Address::parse(fresh), "/").status, 200);
  EXPECT_TRUE(wait_until([&] { return http_get(*Address::parse(left), "/").error == "refused"; }));
}

TEST(NextLife, AnAddressStaysOpenUnderAnotherServicesName) {
  const std::string address = free_tcp_address();
  const auto config = [&address](const std::string& name) {
    return "{\"services\": {\"" + name + "\": {\"command\": [\"" + built_program("examples/http_threads") +
           "\"], \"lame_duck\": \"100ms\", \"listen\": [\"" + address + "\"]}}}";
  };
  Daemon daemon = Daemon::with_config(config("web"));
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  const pid_t worker = daemon.pids().at(0);
  LoadOptions options;
  options.address = *Address::parse(address);
  options.path = "/?delay=5";
  Load load(options);
  std::ofstream(daemon.directory().file("refork.json")) << config("site");
  daemon.kill();
  EXPECT_TRUE(wait_until_gone(worker)) << daemon.log();
  ASSERT_TRUE(daemon.wait_for_state("running", "site")) << daemon.log();
  EXPECT_EQ(http_get(*Address::parse(address), "/").status, 200);
  EXPECT_EQ(load.stop().noticed(), 0U);
  daemon.kill();
  EXPECT_TRUE(daemon.wait_for_state("running", "site")) << daemon.log();
  EXPECT_EQ(http_get(*Address::parse(address), "/").status, 200);
}

// ---- a state that cannot be read

// The memory of this name that the keeper keeps, to write to.
base::UniqueFd memory_of(pid_t keeper, const std::string& name) {
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(keeper) + "/fd"))
    if (fs::read_symlink(entry.path()).native().find("memfd:" + name) != std::string::npos)
      return base::UniqueFd(::open(entry.path().c_str(), O_RDWR | O_CLOEXEC));
  return {};
}

// reforkd dies, and the next one finds this state; meanwhile its keeper stands still.
void die_and_find(Daemon& daemon, const std::function<void(int state)>& write) {
  const pid_t keeper = daemon.process().pid(), reforkd = daemon.pid();
  daemon.process().signal(SIGSTOP);
  ASSERT_EQ(::kill(reforkd, SIGKILL), 0);
  ASSERT_TRUE(wait_until_gone(reforkd));
  const auto state = memory_of(keeper, "refork-state");
  ASSERT_TRUE(state);
  write(state.get());
  daemon.process().signal(SIGCONT);
  ASSERT_TRUE(wait_until([&] { return daemon.pid() > 1 && daemon.pid() != reforkd; })) << daemon.log();
}

void write_state(int memory, const std::string& text) {
  auto state = state::Memory::adopt(base::UniqueFd(::fcntl(memory, F_DUPFD_CLOEXEC, 3)));
  ASSERT_TRUE(state && state->write(text));
}

constexpr const char* kOfAnotherVersion = R"({"version":4711})";

class UnreadableState : public testing::TestWithParam<const char*> {};

TEST_P(UnreadableState, LetsTheWorkersFinishWhileOthersTakeTheirPlaces) {
  Daemon daemon = web_of("http_threads", {"--workers", "2", "--lame-duck", "100ms"});
  const Address address = daemon.address();
  const auto pids = daemon.pids();
  HttpConnection busy(address);
  ASSERT_TRUE(busy.send_get("/?delay=1500"));
  ASSERT_TRUE(daemon.wait_for([](const json& service) {
    return service["workers"][0]["in_flight"] == 1 || service["workers"][1]["in_flight"] == 1;
  }));
  die_and_find(daemon, [](int state) {
    if (GetParam() == std::string("OfAnotherVersion")) return write_state(state, kOfAnotherVersion);
    ASSERT_EQ(::ftruncate(state, 4096), 0);
    ASSERT_EQ(::pwrite(state, "x", 1, 8), 1);
  });
  EXPECT_EQ(http_get(address, "/error").status, 500);
  EXPECT_EQ(busy.read_answer().status, 200);
  for (const pid_t pid : pids) EXPECT_TRUE(wait_until_gone(pid));
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_EQ(daemon.address().text(), address.text());
  EXPECT_EQ(complete_failures(daemon, 1).size(), 1U);
  EXPECT_THAT(daemon.log(), testing::HasSubstr("cannot be read"));
  EXPECT_THAT(daemon.log(), testing::HasSubstr("2 workers of an earlier reforkd of which nothing is known"));
  for (const auto& end : ends_after_stop(daemon)) EXPECT_EQ(end.outcome, "clean") << end.worker;
}

INSTANTIATE_TEST_SUITE_P(Survival, UnreadableState, testing::Values("Truncated", "OfAnotherVersion"),
                         [](const auto& one) { return one.param; });

// Nothing says what its workers are, and nothing what they should be.
TEST(NextLife, EndsTheWorkersOfAServiceThatNeitherStateNorConfigurationKnows) {
  Daemon daemon = Daemon::with_config(two_services(
      ", \"listen\": [\"tcp://127.0.0.1:0\"]", ", \"ready\": \"exec\", \"listen\": [\"tcp://127.0.0.1:0\"]"));
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  ASSERT_TRUE(daemon.wait_for_state("running", "api"));
  const pid_t api = daemon.pids("api").at(0);
  std::ofstream(daemon.directory().file("refork.json"))
      << two_services(", \"listen\": [\"tcp://127.0.0.1:0\"]", "");
  die_and_find(daemon, [](int state) { write_state(state, kOfAnotherVersion); });
  EXPECT_TRUE(wait_until_gone(api)) << daemon.log();
  EXPECT_THAT(daemon.log(), testing::HasSubstr("a worker (pid " + std::to_string(api) +
                                               ") of an earlier reforkd is not known: it is ended"));
  EXPECT_TRUE(wait_until_settled(daemon)) << daemon.log();
}

// The last that reforkd does is to start a worker in the place of another one, who is told nothing before
// that one is ready; and it dies before it has written that down.
TEST(NextLife, RelievesAWorkerWhosePlaceIsTaken) {
  const TempDir directory;
  const std::string gate = directory.file("gate");
  ASSERT_EQ(::mkfifo(gate.c_str(), 0600), 0);
  const base::UniqueFd let_run(::open(gate.c_str(), O_RDWR | O_CLOEXEC));
  const auto let_one_be_ready = [&] { return ::write(let_run.get(), "\n", 1) == 1; };
  ASSERT_TRUE(let_one_be_ready());
  Daemon daemon =
      web_of("/bin/sh", {"--workers", "1", "--lame-duck", "100ms"},
             {"-c", R"(read -r line < "$0" && exec "$1")", gate, built_program("examples/http_threads")});
  const auto pids_are = [&](std::size_t count) {
    return daemon.wait_for([&](const json& service) { return service["workers"].size() == count; });
  };
  const pid_t old = daemon.pids().at(0);
  const auto memory = memory_of(daemon.process().pid(), "refork-state");
  const auto before = state::Memory::adopt(base::UniqueFd(::fcntl(memory.get(), F_DUPFD_CLOEXEC, 3)))->read();
  ASSERT_TRUE(before);
  ASSERT_EQ(daemon.ctl({"--no-block", "drain", "web/0"}).code, 0);
  ASSERT_TRUE(pids_are(2));
  die_and_find(daemon, [&](int state) { write_state(state, *before); });
  ASSERT_TRUE(pids_are(2)) << daemon.log();
  pid_t fresh = 0;
  for (const pid_t pid : daemon.pids())
    if (pid != old) fresh = pid;
  ASSERT_NE(fresh, 0);
  ASSERT_TRUE(let_one_be_ready());
  EXPECT_TRUE(wait_until_gone(old)) << daemon.log();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_EQ(daemon.pids(), std::vector{fresh});
  const auto ends = ends_after_stop(daemon);
  ASSERT_FALSE(ends.empty());
  EXPECT_EQ(ends[0].outcome, "clean");
  EXPECT_EQ(ends[0].requested, "operator");
}

}  // namespace
}  // namespace refork::test
