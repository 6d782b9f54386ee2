// What a process that reforkd starts finds itself to be: exactly the descriptors, variables and rights that
// reforkd(8) promises, and nothing that was reforkd's own. The programs here are sleep(1), so that what they
// have is what they were given.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using testing::AnyOf;
using testing::ElementsAre;
using testing::Eq;
using testing::IsEmpty;
using testing::Key;
using testing::MatchesRegex;
using testing::Pair;
using testing::StartsWith;

namespace fs = std::filesystem;

constexpr const char* kUser = "nobody";

std::string proc(pid_t pid, const std::string& name) { return "/proc/" + std::to_string(pid) + "/" + name; }

std::string contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::map<int, std::string> descriptors(pid_t pid) {
  std::map<int, std::string> all;
  for (const auto& entry : fs::directory_iterator(proc(pid, "fd"))) {
    std::error_code gone;
    all[std::stoi(entry.path().filename())] = fs::read_symlink(entry.path(), gone);
  }
  return all;
}

std::map<std::string, std::string> environment(pid_t pid) {
  std::map<std::string, std::string> all;
  std::istringstream entries(contents(proc(pid, "environ")));
  for (std::string entry; std::getline(entries, entry, '\0');)
    all[entry.substr(0, entry.find('='))] = entry.substr(entry.find('=') + 1);
  return all;
}

// A line of /proc/PID/status, without the white space around.
std::string status(pid_t pid, const std::string& name) {
  std::istringstream lines(contents(proc(pid, "status")));
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(name + ":")) {
      const auto from = line.find_first_not_of(" \t", name.size() + 1);
      return from == std::string::npos ? "" : line.substr(from, line.find_last_not_of(" \t") + 1 - from);
    }
  return "none";
}

// A variable of this process, and so of the reforkd that is started meanwhile.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~Variable() { ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

// One worker that sleeps, of which nobody knows whether it is ready.
struct Sleeper {
  explicit Sleeper(std::vector<std::string> options) : daemon(start(std::move(options))) {
    EXPECT_TRUE(wait_until([this] {
      const auto pids = daemon.pids();
      pid = pids.empty() ? 0 : pids[0];
      return pid > 0 && contents(proc(pid, "comm")) == "sleep\n";
    })) << daemon.log();
  }
  static Daemon start(std::vector<std::string> options) {
    options.insert(options.end(), {"--listen", "tcp://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0",
                                   "--start-timeout", "1h", "--drain-deadline", "1s", "--", "sleep", "3600"});
    return Daemon::run(std::move(options));
  }
  Daemon daemon;
  pid_t pid = 0;
};

TEST(Promise, ALinkedWorkerHasItsListenersItsChannelAndItsRecorder) {
  const Sleeper sleeper({});
  const auto null = Eq("/dev/null");
  EXPECT_THAT(
      descriptors(sleeper.pid),
      ElementsAre(Pair(0, null), Pair(1, StartsWith("/memfd:stdout")), Pair(2, StartsWith("/memfd:stderr")),
                  Pair(3, StartsWith("socket:")), Pair(4, StartsWith("socket:")),
                  Pair(5, StartsWith("socket:")), Pair(6, StartsWith("/memfd:refork-recorder"))));
  const auto variables = environment(sleeper.pid);
  EXPECT_EQ(variables.at("REFORK_CHANNEL"), "5");
  EXPECT_EQ(variables.at("REFORK_RECORDER"), "6");
}

TEST(Promise, AnUnlinkedWorkerHasItsListenersOnly) {
  for (const char* ready : {"exec", "notify"}) {
    const Sleeper sleeper({"--ready", ready, "--log", "null"});
    const auto null = Eq("/dev/null");
    EXPECT_THAT(descriptors(sleeper.pid),
                ElementsAre(Pair(0, null), Pair(1, null), Pair(2, null), Pair(3, StartsWith("socket:")),
                            Pair(4, StartsWith("socket:"))))
        << ready;
  }
}

TEST(Promise, AReplacementHasNoMoreThanItsPredecessor) {
  Sleeper sleeper({"--ready", "exec", "--workers", "2"});
  const auto before = descriptors(sleeper.pid);
  ASSERT_EQ(sleeper.daemon.ctl({"kill", "web/0"}).code, 0);
  ASSERT_TRUE(wait_until([&] {
    const auto pids = sleeper.daemon.pids();
    return pids.size() == 2 && pids[0] != sleeper.pid && contents(proc(pids[0], "comm")) == "sleep\n" &&
           descriptors(pids[0]) == before;
  })) << sleeper.daemon.log();
}

TEST(Promise, AWorkersEnvironmentIsWhatIsPromisedAndNothingOfReforkdsOwn) {
  const Variable passed("REFORK_TEST_PASSED", "1"), invocation("INVOCATION_ID", "0123"),
      usec("WATCHDOG_USEC", "1000000"), watched("WATCHDOG_PID", "1"), state("STATE_DIRECTORY", "/nowhere"),
      credentials("CREDENTIALS_DIRECTORY", "/nowhere"), main_pid("MAINPID", "1"),
      notify("NOTIFY_SOCKET", "/nowhere"), exec_pid("SYSTEMD_EXEC_PID", "1");
  std::set<std::string> inherited;
  for (char** entry = environ; *entry; ++entry)
    inherited.insert(std::string(*entry).substr(0, std::string(*entry).find('=')));
  for (const char* name : {"INVOCATION_ID", "WATCHDOG_USEC", "WATCHDOG_PID", "STATE_DIRECTORY",
                           "CREDENTIALS_DIRECTORY", "MAINPID", "NOTIFY_SOCKET", "SYSTEMD_EXEC_PID"})
    ASSERT_EQ(inherited.erase(name), 1U);
  const std::set<std::string> always = {"LISTEN_FDS",  "LISTEN_PID",     "LISTEN_FDNAMES",
                                        "REFORK_SLOT", "REFORK_SERVICE", "REFORK_WORKER"};
  const auto expect = [&](const Sleeper& sleeper, std::set<std::string> added) {
    added.insert(always.begin(), always.end());
    added.insert(inherited.begin(), inherited.end());
    std::set<std::string> names;
    for (const auto& [name, value] : environment(sleeper.pid)) names.insert(name);
    EXPECT_EQ(names, added);
    EXPECT_EQ(environment(sleeper.pid)["LISTEN_PID"], std::to_string(sleeper.pid));
    EXPECT_EQ(environment(sleeper.pid)["LISTEN_FDS"], "2");
  };
  expect(Sleeper({}), {"REFORK_CHANNEL", "REFORK_RECORDER"});
  expect(Sleeper({"--ready", "exec", "--environment", "A=b"}), {"A"});
  expect(Sleeper({"--ready", "notify", "--watchdog", "1h"}), {"NOTIFY_SOCKET", "WATCHDOG_USEC"});
}

TEST(Promise, AWorkerStartsWithoutBlockedOrIgnoredSignalsInAGroupOfItsOwn) {
  const Sleeper sleeper({"--ready", "exec"});
  for (const char* signals : {"SigBlk", "SigIgn", "SigCgt"})
    EXPECT_EQ(status(sleeper.pid, signals), "0000000000000000") << signals;
  EXPECT_EQ(::getpgid(sleeper.pid), sleeper.pid);
  EXPECT_EQ(::getsid(sleeper.pid), ::getsid(sleeper.daemon.pid()));
  EXPECT_EQ(status(sleeper.pid, "Umask"), status(sleeper.daemon.pid(), "Umask"));
  EXPECT_EQ(std::stoi(contents(proc(sleeper.pid, "oom_score_adj"))),
            std::max(0, std::stoi(contents(proc(sleeper.daemon.pid(), "oom_score_adj")))))
      << "reforkd may be spared, not its workers";
}

TEST(Promise, AWorkerOfAnotherUserHasNoRightOfRoot) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const passwd* user = ::getpwnam(kUser);
  ASSERT_NE(user, nullptr);
  const auto four = [](auto id) {
    const auto one = std::to_string(id);
    return one + "\t" + one + "\t" + one + "\t" + one;
  };
  const uid_t uid = user->pw_uid;
  const gid_t gid = user->pw_gid;
  const Sleeper sleeper({"--ready", "exec", "--user", kUser});
  EXPECT_EQ(status(sleeper.pid, "Uid"), four(uid));
  EXPECT_EQ(status(sleeper.pid, "Gid"), four(gid));
  EXPECT_EQ(status(sleeper.pid, "Groups"), std::to_string(gid));
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"})
    EXPECT_EQ(status(sleeper.pid, set), "0000000000000000") << set;
  const auto variables = environment(sleeper.pid);
  EXPECT_EQ(variables.at("USER"), kUser);
  EXPECT_EQ(variables.at("LOGNAME"), kUser);
}

// Of reforkd; the keeper is its parent.
pid_t symbolizer_of(pid_t reforkd) {
  std::istringstream children(contents(proc(reforkd, "task/" + std::to_string(reforkd) + "/children")));
  for (pid_t child; children >> child;)
    if (contents(proc(child, "comm")) == "refork-symboliz\n") return child;
  return 0;
}

TEST(Promise, TheSymbolizerHasItsSocketAndNoRights) {
  const Daemon daemon = web_of("http_threads", {"--workers", "1"});
  EXPECT_EQ(http_get(daemon.address(), "/error").status, 500);
  ASSERT_TRUE(daemon.wait_for_failures(1));
  const pid_t helper = symbolizer_of(daemon.pid());
  ASSERT_GT(helper, 0);
  auto open = descriptors(helper);
  EXPECT_THAT(open[0], StartsWith("socket:"));
  EXPECT_EQ(open[1], "/dev/null");
  EXPECT_EQ(open[2], "/dev/null");
  for (const int standard : {0, 1, 2}) open.erase(standard);
  for (const auto& [fd, target] : open)
    EXPECT_TRUE(fs::is_regular_file(target)) << target << ", what it reads";
  EXPECT_THAT(environment(helper), IsEmpty());
  EXPECT_EQ(status(helper, "NoNewPrivs"), "1");
  if (::geteuid() != 0) return;
  EXPECT_THAT(status(helper, "Uid"), MatchesRegex("([1-9][0-9]*)\t.*"));
  EXPECT_EQ(status(helper, "CapEff"), "0000000000000000");
}

TEST(Promise, TheKeeperHasWhatItKeepsAndNothingOfWhoStartedIt) {
  const Variable passed("REFORK_TEST_PASSED", "1");
  Process::Options options;
  const TempDir place;
  options.argv = {built_program("reforkd"),
                  "run",
                  "--control",
                  place.file("control"),
                  "--state-dir",
                  place.file("state"),
                  "--ready",
                  "exec",
                  "--",
                  "sleep",
                  "3600"};
  const auto [stray, port] = listen_tcp();
  options.fds = {{stray.get(), 17}};
  Process keeper(std::move(options));
  ASSERT_TRUE(keeper.wait_for_error_line("controls at"));
  const auto open = [&keeper] {
    auto all = descriptors(keeper.pid());
    for (const int standard : {0, 1, 2}) all.erase(standard);
    return all;
  };
  EXPECT_THAT(open(), testing::Not(testing::Contains(Key(17))));
  for (const auto& [fd, target] : open())
    EXPECT_THAT(target, AnyOf(StartsWith("socket:"), StartsWith("anon_inode:"), StartsWith("/memfd:refork-")))
        << fd;
  keeper.signal(SIGTERM);
  keeper.wait();
}

}  // namespace
}  // namespace refork::test
