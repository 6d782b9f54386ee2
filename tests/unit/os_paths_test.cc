// Directories, the lock of the one instance, the place of flight recorders.
#include "os/paths.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

namespace refork::os {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// An environment variable for as long as one test lasts.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    if (value)
      ::setenv(name, value, 1);
    else
      ::unsetenv(name);
  }
  ~Variable() {
    if (old_)
      ::setenv(name_, old_->c_str(), 1);
    else
      ::unsetenv(name_);
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> old_;
};

// What a child without root sees, as text.
std::string as_nobody(std::string (*function)()) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  const base::UniqueFd read_end(ends[0]);
  base::UniqueFd write_end(ends[1]);
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::geteuid() == 0 && ::seteuid(65534) != 0) ::_exit(1);
    const std::string text = function();
    ::_exit(::write(write_end.get(), text.data(), text.size()) < 0);
  }
  write_end.reset();
  char buffer[4096];
  const ssize_t count = ::read(read_end.get(), buffer, sizeof buffer);
  ::waitpid(pid, nullptr, 0);
  return std::string(buffer, count > 0 ? static_cast<std::size_t>(count) : 0);
}

mode_t mode_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

class Paths : public ::testing::Test {
 protected:
  Paths() : directory_(::testing::TempDir() + "refork-paths-" + std::to_string(::getpid())) {
    std::filesystem::create_directory(directory_);
    ::chmod(directory_.c_str(), 0755);
  }
  ~Paths() override { std::filesystem::remove_all(directory_); }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }

 private:
  std::string directory_;
};

TEST_F(Paths, AreTheSystemsForRoot) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const Variable control("REFORK_CONTROL", nullptr);
  EXPECT_EQ(default_control(), "/run/refork/control");
  EXPECT_EQ(default_state_dir(), "/var/lib/refork");
}

TEST_F(Paths, AreTheUsersOwnForOthers) {
  const Variable control("REFORK_CONTROL", nullptr), home("HOME", "/home/x");
  {
    const Variable runtime("XDG_RUNTIME_DIR", "/run/user/7");
    EXPECT_EQ(as_nobody(default_control), "/run/user/7/refork/control");
  }
  const Variable runtime("XDG_RUNTIME_DIR", nullptr);
  EXPECT_THAT(as_nobody(default_control), StartsWith("/run/user/"));
  EXPECT_EQ(as_nobody(default_state_dir), "/home/x/.local/state/refork");
}

TEST_F(Paths, OfTheControlSocketCanBeChosenByTheEnvironment) {
  const Variable control("REFORK_CONTROL", "/somewhere/control");
  EXPECT_EQ(default_control(), "/somewhere/control");
}

TEST_F(Paths, AreMadeWithTheirParentsAndTheModeAskedFor) {
  const mode_t before = ::umask(077);
  const auto made = make_directory(path("a/b/c"), 0751);
  ::umask(before);
  ASSERT_TRUE(made.ok()) << made.error().what;
  EXPECT_EQ(mode_of(path("a/b/c")), 0751U);
  EXPECT_EQ(mode_of(path("a")), 0755U);
  EXPECT_TRUE(make_directory(path("a/b/c/"), 0700).ok());
  EXPECT_EQ(mode_of(path("a/b/c")), 0751U) << "one that is there stays as it is";
}

TEST_F(Paths, ThatCannotBeMadeAreExplained) {
  std::ofstream(path("file")) << "x";
  EXPECT_EQ(make_directory(path("file"), 0700).error().what,
            path("file") + ": expected a directory, there is a file of this name");
  EXPECT_EQ(make_directory(path("file/below"), 0700).error().code, ENOTDIR);
  EXPECT_EQ(make_directory("", 0700).error().code, ENOENT);
}

TEST_F(Paths, ThatCannotBeUsedAreExplained) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_TRUE(make_directory(path("closed"), 0700).ok());
  ASSERT_EQ(::seteuid(65534), 0);
  const auto unusable = make_directory(path("closed"), 0700), unmakable = make_directory(path("new"), 0700);
  ASSERT_EQ(::seteuid(0), 0);
  EXPECT_THAT(unusable.error().what,
              EndsWith("must be readable and writable for this user: Permission denied"));
  EXPECT_THAT(unmakable.error().what, EndsWith("Permission denied"));
}

TEST_F(Paths, AreLockedByOneInstanceWhichIsNamedToTheNext) {
  auto lock = lock_instance(path("control"));
  ASSERT_TRUE(lock.ok()) << lock.error().what;
  EXPECT_NE(::fcntl(lock->get(), F_GETFD) & FD_CLOEXEC, 0) << "no worker may hold it";
  const auto second = lock_instance(path("control"));
  EXPECT_EQ(second.error().code, EBUSY);
  EXPECT_EQ(second.error().what,
            "another reforkd (pid " + std::to_string(::getpid()) + ") runs here: " + path("control"));
  EXPECT_TRUE(lock_instance(path("other")).ok());
  lock->reset();
  EXPECT_TRUE(lock_instance(path("control")).ok());
}

TEST_F(Paths, OfALockMayBeRemovedByItsHolder) {
  auto lock = lock_instance(path("control"));
  ASSERT_TRUE(lock.ok());
  std::filesystem::remove(path("control.lock"));
  const auto next = lock_instance(path("control"));
  ASSERT_TRUE(next.ok());
  lock->reset();
  EXPECT_EQ(lock_instance(path("control")).error().code, EBUSY) << "the new file is the one that counts";
}

TEST_F(Paths, OfALockThatCannotBeMadeAreExplained) {
  EXPECT_THAT(lock_instance(path("missing/control")).error().what, EndsWith("No such file or directory"));
  std::filesystem::create_symlink(path("elsewhere"), path("control.lock"));
  EXPECT_FALSE(lock_instance(path("control")).ok());
  EXPECT_FALSE(std::filesystem::exists(path("elsewhere")));
}

}  // namespace
}  // namespace refork::os
