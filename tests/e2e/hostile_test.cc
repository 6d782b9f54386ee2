// A real reforkd, as root, in directories that another user owns or can write to: it refuses with a sentence,
// or does its work, but touches nothing that this user could not have touched.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "e2e/scene.h"

namespace refork::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr uid_t kStranger = 65534;
constexpr std::size_t kEnoughLines = 40;

class Hostile : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    fs::permissions(dir_.path(), fs::perms(0755));
    for (const char* name : {"victim", "theirs", "theirs/logs"}) fs::create_directory(path(name));
    for (const char* name : {"theirs", "theirs/logs"}) give(name);
    std::ofstream(path("victim/secret")) << "precious";
    fs::permissions(path("victim/secret"), fs::perms(0600));
  }
  std::string path(const std::string& name) const { return dir_.file(name); }
  void give(const std::string& name) const {
    ASSERT_EQ(::lchown(path(name).c_str(), kStranger, kStranger), 0);
  }
  void link(const std::string& target, const std::string& name) const {
    fs::create_symlink(path(target), path(name));
    give(name);
  }
  // Until it has ended, with what it said.
  Daemon::Ran start(const std::string& control, const std::string& state) const {
    return reforkd({"run", "--no-keeper", "--control", path(control), "--state-dir", path(state), "--ready",
                    "exec", "--", "/bin/true"});
  }
  void expect_victim_untouched() const {
    EXPECT_EQ(std::distance(fs::directory_iterator(path("victim")), {}), 1);
    EXPECT_EQ(fs::file_size(path("victim/secret")), 8U);
    EXPECT_EQ(fs::status(path("victim/secret")).permissions(), fs::perms(0600));
  }

  TempDir dir_;
};

TEST_F(Hostile, AStateDirectoryThatOthersCanWriteToIsRefused) {
  const auto ran = start("control", "theirs");
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, AllOf(HasSubstr(path("theirs")), HasSubstr("others can write to it")));
  EXPECT_FALSE(fs::exists(path("theirs/refork.db")));
}

TEST_F(Hostile, AStateDirectoryIsNotFoundThroughAnothersLink) {
  link("victim", "theirs/state");
  const auto ran = start("control", "theirs/state");
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("symbolic link of user 65534"));
  expect_victim_untouched();
}

TEST_F(Hostile, AControlSocketInADirectoryThatOthersCanWriteToIsRefused) {
  const auto ran = start("theirs/control", "state");
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("others can write to it"), HasSubstr("--control")));
}

TEST_F(Hostile, AFileInPlaceOfTheControlSocketIsLeftAlone) {
  fs::create_directory(path("run"));
  fs::create_symlink(path("victim/secret"), path("run/control"));
  const auto ran = start("run/control", "state");
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("a file that is no socket is in the way"));
  EXPECT_TRUE(fs::is_symlink(path("run/control")));
  expect_victim_untouched();
}

TEST_F(Hostile, AListenerIsNotOpenedThroughAnothersLink) {
  link("victim", "theirs/run");
  const auto ran =
      reforkd({"run", "--no-keeper", "--control", path("control"), "--state-dir", path("state"), "--ready",
               "exec", "--listen", "unix:" + path("theirs/run/web.sock"), "--", "/bin/true"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("symbolic link of user 65534"));
  expect_victim_untouched();
}

TEST_F(Hostile, ALogIsNotWrittenThroughAnothersLinkHoweverOftenItIsSwapped) {
  link("victim", "theirs/link");
  std::atomic<bool> stop = false;
  std::thread swapper([&] {
    while (!stop)
      ::renameat2(AT_FDCWD, path("theirs/logs").c_str(), AT_FDCWD, path("theirs/link").c_str(),
                  RENAME_EXCHANGE);
  });
  {
    // Each of its workers has the log opened for it, says a word and ends.
    const Daemon daemon =
        Daemon::run({"--user", "nobody", "--ready", "exec", "--restart-backoff", "1ms,2ms", "--log",
                     "file:" + path("theirs/logs/log"), "--", "/bin/sh", "-c", "echo word"});
    const auto lines = [this] {
      std::size_t bytes = 0;
      for (const char* name : {"theirs/logs/log", "theirs/link/log"}) {
        std::error_code not_now;
        const auto size = fs::file_size(path(name), not_now);
        if (!not_now) bytes = std::max<std::size_t>(bytes, size);
      }
      return bytes / 5;
    };
    EXPECT_TRUE(wait_until([&] { return lines() >= kEnoughLines; })) << lines() << daemon.log();
    EXPECT_THAT(daemon.failures().dump(), HasSubstr("symbolic link of user 65534")) << "it was swapped";
  }
  stop = true;
  swapper.join();
  expect_victim_untouched();
}

}  // namespace
}  // namespace refork::test
