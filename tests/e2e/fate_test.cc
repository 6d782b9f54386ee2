// What is told of a worker that died: its last words, its core, what its threads did; and who serves
// meanwhile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sched.h>
#include <sys/mount.h>

#include <csignal>
#include <fstream>

#include "e2e/scene.h"
#include "support/cgroup.h"

namespace refork::test {
namespace {

using nlohmann::json;
using testing::EndsWith;
using testing::HasSubstr;

TEST(LastOutput, OfAFailedStartIsInItsRecord) {
  const TempDir directory;
  const std::string log = directory.file("log");
  std::ofstream(log) << "of somebody else\n";
  const Daemon daemon =
      web({"--workers", "1", "--ready", "exec", "--log", "file:" + log, "--restart-policy", "never"},
          {"/bin/sh", "-c", "echo starting; echo no configuration >&2; exit 3"});
  const json failures = complete_failures(daemon, 1);
  ASSERT_EQ(failures.size(), 1U) << failures;
  EXPECT_EQ(failures[0]["kind"], "boot");
  EXPECT_EQ(failures[0]["exit"]["code"], 3);
  EXPECT_EQ(failures[0]["output_tail"], "starting\nno configuration");
}

TEST(LastOutput, OfACrashIsInItsRecord) {
  const TempDir directory;
  const Daemon daemon = web({"--workers", "1", "--ready", "notify", "--log", "file:" + directory.file("log")},
                            {"/bin/sh", "-c", "echo now; exec \"$0\" --notify", unlinked_server()});
  ASSERT_TRUE(daemon.wait_for_state("running"));
  ASSERT_EQ(::kill(daemon.pids().at(0), SIGABRT), 0);
  const json failure = complete_failures(daemon, 1)[0];
  EXPECT_EQ(failure["kind"], "signal");
  EXPECT_EQ(failure["output_tail"], "now");
}

TEST(Kill, ByAStrangerIsNotBlamedOnAnybody) {
  const Daemon daemon = web_of("http_threads");
  HttpConnection hangs(daemon.address());
  ASSERT_TRUE(hangs.send_get("/hang"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  ASSERT_EQ(::kill(daemon.pids().at(0), SIGKILL), 0);
  const json failure = complete_failures(daemon, 1)[0];
  EXPECT_EQ(failure["kind"], "signal");
  EXPECT_EQ(failure["message"], "killed by SIGKILL, by whom is not known, while serving");
  EXPECT_THAT(cut_by(failure), testing::ElementsAre("GET /hang"));
}

// The kernel's count of kills for want of memory, as reforkd finds it in its cgroup; written by the test, for
// that a machine has such a controller at all, in this version, is not sure.
class MemoryEvents {
 public:
  MemoryEvents() {
    if (cgroup_.directory().empty() || ::unshare(CLONE_NEWNS) != 0) return;
    ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    mounted_ = ::mount("none", cgroup_.directory().c_str(), "tmpfs", 0, nullptr) == 0;
    if (mounted_) count_kills(0);
  }
  MemoryEvents(const MemoryEvents&) = delete;
  MemoryEvents& operator=(const MemoryEvents&) = delete;
  ~MemoryEvents() {
    if (mounted_) ::umount2(cgroup_.directory().c_str(), MNT_DETACH);
  }

  bool there() const noexcept { return mounted_; }
  void count_kills(int kills) const {
    std::ofstream(cgroup_.directory() + "/memory.events") << "max 7\noom 1\noom_kill " << kills << "\n";
  }

 private:
  const TestCgroup cgroup_{false};
  bool mounted_ = false;
};

TEST(Kill, ByTheKernelForWantOfMemoryIsCalledThat) {
  const MemoryEvents memory;
  if (!memory.there()) GTEST_SKIP() << "no cgroup2 that can be divided, or no right to mount";
  const Daemon daemon = web_of("http_threads");
  HttpConnection hangs(daemon.address());
  ASSERT_TRUE(hangs.send_get("/hang"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  memory.count_kills(1);
  ASSERT_EQ(::kill(daemon.pids().at(0), SIGKILL), 0);
  const json failure = complete_failures(daemon, 1)[0];
  EXPECT_EQ(failure["kind"], "oom") << failure;
  EXPECT_THAT(cut_by(failure), testing::ElementsAre("GET /hang"));

  // Once: the next one was somebody else.
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  ASSERT_EQ(::kill(daemon.pids().at(0), SIGKILL), 0);
  EXPECT_EQ(complete_failures(daemon, 2)[0]["kind"], "signal");
}

TEST(Cut, ARequestThatIsCutSaysWhatItsThreadWasDoing) {
  const Daemon daemon = web_of("http_threads", {"--drain-deadline", "300ms"});
  HttpConnection hangs(daemon.address());
  ASSERT_TRUE(hangs.send_get("/hang"));
  ASSERT_TRUE(wait_for_in_flight(daemon, 1));
  ASSERT_EQ(daemon.ctl({"drain", "web/0"}).code, 0);
  const json failure = complete_failures(daemon, 1)[0];
  EXPECT_EQ(failure["kind"], "deadline");
  const json& cut = failure["drain"]["cut"];
  ASSERT_EQ(cut.size(), 1U) << failure;
  ASSERT_TRUE(cut[0].contains("stack")) << failure;
  EXPECT_TRUE(std::ranges::any_of(cut[0]["stack"], [](const json& frame) { return frame["in_app"]; })) << cut;
}

#ifndef __SANITIZE_ADDRESS__  // whose programs dump no core

std::string first_line(const char* file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

// The core goes where the worker was started, which is a directory of this test's.
TEST(CoreDump, OfALargeWorkerHoldsUpNobody) {
  if (first_line("/proc/sys/kernel/core_pattern").find_first_of("/|%") != std::string::npos)
    GTEST_SKIP() << "cores go elsewhere on this machine";
  const TempDir directory;
  const Daemon daemon =
      web_of(odd_worker(), {"--workers", "1", "--limits", "core=unlimited", "--directory", directory.path()},
             {"obey"});
  const pid_t pid = daemon.pids().at(0);
  ASSERT_EQ(daemon.ctl({"send", "web/0", "\"crash large\""}).code, 0);
  ASSERT_TRUE(wait_until([&] {
    return daemon.log().find("worker 1: crashed") != std::string::npos ||
           daemon.service()["workers"].size() == 2;
  }));
  EXPECT_TRUE(daemon.wait_for([pid](const json& service) {
    for (const json& worker : service["workers"])
      if (worker["state"] == "serving" && worker["pid"] != pid) return true;
    return false;
  }));
  EXPECT_EQ(::kill(pid, 0), 0) << "its core is still being written";
  EXPECT_EQ(http_get(daemon.address(), "/").status, 200);
  const json failures = complete_failures(daemon, 1);
  ASSERT_EQ(failures.size(), 1U) << failures;
  EXPECT_EQ(failures[0]["kind"], "signal");
  EXPECT_EQ(failures[0]["fault"]["signal"], SIGSEGV);
  EXPECT_EQ(failures[0]["exit"]["signal"], SIGSEGV);
  EXPECT_EQ(failures[0]["exit"]["core"], true);
  EXPECT_THAT(failures[0]["exit"]["core_file"].get<std::string>(),
              testing::StartsWith(directory.file("core")));
}

TEST(CoreDump, NoMoreThanTheirNumberAnHour) {
  const TempDir directory;
  const Daemon daemon = web_of("http_threads", {"--workers", "1", "--core-dumps", "1", "--limits",
                                                "core=unlimited", "--directory", directory.path()});
  if (first_line("/proc/sys/kernel/core_pattern").starts_with('|')) GTEST_SKIP() << "cores go elsewhere";
  for (std::size_t i = 1; i <= 2; ++i) {
    ASSERT_TRUE(wait_until_settled(daemon));
    http_get(daemon.address(), "/crash");
    ASSERT_EQ(complete_failures(daemon, i).size(), i);
  }
  const json failures = daemon.failures();
  EXPECT_EQ(failures[1]["exit"]["core"], true) << failures;
  EXPECT_EQ(failures[0]["exit"]["core"], false) << failures;
  EXPECT_THAT(daemon.log(), HasSubstr("workers that crash dump none for now"));
}

#endif

}  // namespace
}  // namespace refork::test
