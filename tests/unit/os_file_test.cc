// Files that a privileged process opens where others own what is on the way: symbolic links, second names,
// pipes, and the moment between a look and the use of what was seen. As root, so that there are others.
#include "os/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "os/file_end.h"
#include "os/listener.h"
#include "os/notify.h"
#include "os/paths.h"
#include "support/process.h"

namespace refork::os {
namespace {

using ::testing::HasSubstr;

constexpr uid_t stranger = 65534;
constexpr int rounds = 2000;
constexpr int append = O_WRONLY | O_CREAT | O_APPEND;

class File : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    for (const char* name : {"victim", "theirs", "ours"}) std::filesystem::create_directory(path(name));
    give(path("theirs"));
    std::ofstream(path("victim/secret")) << "precious";
    ::chmod(path("victim/secret").c_str(), 0600);
  }
  std::string path(const std::string& name) const { return directory_.file(name); }
  static void give(const std::string& name) { ASSERT_EQ(::lchown(name.c_str(), stranger, stranger), 0); }
  // By a stranger, as all that stands in his directory.
  void link(const std::string& target, const std::string& name) const {
    ASSERT_EQ(::symlink(path(target).c_str(), path(name).c_str()), 0);
    give(path(name));
  }
  base::Error refusal(const std::string& name, int flags = append) const {
    const auto file = open_file(path(name), flags, 0640);
    return file ? base::Error{0, "it was opened"} : file.error();
  }
  void expect_victim_untouched() const {
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path("victim")), {}), 1);
    struct stat secret {};
    ASSERT_EQ(::stat(path("victim/secret").c_str(), &secret), 0);
    EXPECT_EQ(secret.st_size, 8);
    EXPECT_EQ(secret.st_mode & 07777, 0600U);
    EXPECT_EQ(secret.st_uid, 0U);
  }

  test::TempDir directory_;
};

// Changes something again and again beside the test's own thread.
class Meanwhile {
 public:
  template <class Change>
  explicit Meanwhile(Change change)
      : thread_([this, change] {
          while (!stopped_) change();
        }) {}
  ~Meanwhile() {
    stopped_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stopped_ = false;
  std::thread thread_;
};

TEST_F(File, IsOpenedAndMadeInTheDirectoryOfAnotherUser) {
  EXPECT_EQ(refusal("theirs/log").code, 0);
  EXPECT_EQ(refusal("theirs/log").code, 0)
      << "once more: it belongs to root now, in a directory of another user";
  EXPECT_EQ(refusal("ours/./../ours//log").code, 0);
  EXPECT_TRUE(std::filesystem::exists(path("ours/log")));
}

TEST_F(File, IsNeverInheritedNorWaitedFor) {
  ASSERT_EQ(::mkfifo(path("theirs/pipe").c_str(), 0666), 0);
  EXPECT_EQ(refusal("theirs/pipe").code, ENXIO) << "a pipe that nobody reads";
  const auto file = open_file(path("ours/log"), append, 0640);
  ASSERT_TRUE(file.ok());
  EXPECT_NE(::fcntl(file->get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(File, IsNoSymbolicLinkWhoseverItIs) {
  link("victim/secret", "theirs/log");
  std::filesystem::create_symlink(path("victim/secret"), path("ours/log"));
  for (const char* name : {"theirs/log", "ours/log"}) {
    const auto refused = refusal(name);
    EXPECT_EQ(refused.code, ELOOP);
    EXPECT_EQ(refused.what, path(name) + " is a symbolic link, which is not followed; expected a file");
  }
  expect_victim_untouched();
}

TEST_F(File, IsNotReachedThroughAnothersSymbolicLink) {
  link("victim", "theirs/logs");
  const auto refused = refusal("theirs/logs/log");
  EXPECT_EQ(refused.code, ELOOP);
  EXPECT_THAT(refused.what, HasSubstr("logs is a symbolic link of user 65534, which is not followed"));
  EXPECT_EQ(refusal("theirs/logs/secret", O_RDONLY).code, ELOOP);
  expect_victim_untouched();
}

TEST_F(File, IsReachedThroughASymbolicLinkOfRoot) {
  std::filesystem::create_symlink(path("ours"), path("absolute"));
  std::filesystem::create_symlink("../ours", path("victim/relative"));
  EXPECT_EQ(refusal("absolute/log").code, 0);
  EXPECT_EQ(refusal("victim/relative/other").code, 0);
  EXPECT_TRUE(std::filesystem::exists(path("ours/log")));
  EXPECT_TRUE(std::filesystem::exists(path("ours/other")));
  std::filesystem::create_symlink("loop", path("loop"));
  EXPECT_EQ(refusal("loop/log").code, ELOOP);
}

TEST_F(File, HasOneNameWhereOthersCanWrite) {
  ASSERT_EQ(::link(path("victim/secret").c_str(), path("theirs/log").c_str()), 0);
  const auto refused = refusal("theirs/log");
  EXPECT_EQ(refused.code, EMLINK);
  EXPECT_THAT(refused.what, HasSubstr("has a second name (a hard link)"));
  ASSERT_EQ(::link(path("victim/secret").c_str(), path("ours/log").c_str()), 0);
  EXPECT_EQ(refusal("ours/log").code, 0) << "nobody else can have made it";
  std::filesystem::remove(path("ours/log"));
  std::filesystem::remove(path("theirs/log"));
  expect_victim_untouched();
}

TEST_F(File, IsNobodyElsesWhereEverybodyCanWrite) {
  ASSERT_EQ(::chmod(path("ours").c_str(), 01777), 0);
  std::ofstream(path("ours/log")) << "";
  give(path("ours/log"));
  const auto refused = refusal("ours/log", O_WRONLY | O_APPEND);
  EXPECT_EQ(refused.code, EPERM);
  EXPECT_THAT(refused.what, HasSubstr("belongs to user 65534"));
  EXPECT_EQ(refusal("ours/own").code, 0);
}

TEST_F(File, IsNotOpenedElsewhereWhileItsDirectoryIsSwapped) {
  std::filesystem::create_directory(path("theirs/logs"));
  give(path("theirs/logs"));
  link("victim", "theirs/link");
  const Meanwhile swapping([a = path("theirs/logs"), b = path("theirs/link")] {
    ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE);
  });
  int opened = 0, refused = 0;
  for (int i = 0; i < rounds; ++i) {
    const auto code = refusal("theirs/logs/log").code;
    ASSERT_TRUE(code == 0 || code == ELOOP) << code;
    ++(code == 0 ? opened : refused);
  }
  EXPECT_GT(opened, 0);
  EXPECT_GT(refused, 0) << "nothing was swapped";
  expect_victim_untouched();
}

TEST_F(File, ItsEndIsNotReadFromElsewhere) {
  std::ofstream(path("theirs/log")) << "last words";
  EXPECT_EQ(read_end(path("theirs/log"), 0, 100), "last words");
  link("victim", "theirs/logs");
  EXPECT_EQ(read_end(path("theirs/logs/secret"), 0, 100), "");
  EXPECT_EQ(file_size(path("theirs/logs/secret")), std::nullopt);
  std::filesystem::remove(path("theirs/log"));
  ASSERT_EQ(::link(path("victim/secret").c_str(), path("theirs/log").c_str()), 0);
  EXPECT_EQ(read_end(path("theirs/log"), 0, 100), "");
}

TEST_F(File, OfAListenerIsBornWithItsModeWhateverTheUmask) {
  const mode_t before = ::umask(0177);
  const auto socket = ListenSocket::open("unix:" + path("theirs/web.sock"), true);
  ::umask(before);
  ASSERT_TRUE(socket.ok()) << socket.error().what;
  struct stat status {};
  ASSERT_EQ(::stat(path("theirs/web.sock").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0666U);
}

TEST_F(File, OfAListenerThatIsSwappedForALinkChangesNothingElsewhere) {
  const Meanwhile swapping([this] {
    // Over the socket as soon as it stands there.
    const std::string link = path("theirs/link"), socket = path("theirs/web.sock");
    if (::symlink(path("victim/secret").c_str(), link.c_str()) == 0) ::rename(link.c_str(), socket.c_str());
  });
  for (int i = 0; i < rounds; ++i) {
    static_cast<void>(ListenSocket::open("unix:" + path("theirs/web.sock"), true).ok());
    std::filesystem::remove(path("theirs/web.sock"));
  }
  expect_victim_untouched();
}

TEST_F(File, OfAListenerIsNotClearedAwayThroughAnothersLink) {
  {
    const auto dead = ListenSocket::open("unix:" + path("ours/web.sock"), true);
    ASSERT_TRUE(dead.ok());
  }
  link("ours", "theirs/run");
  const auto refused = ListenSocket::open("unix:" + path("theirs/run/web.sock"), true);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ELOOP);
  EXPECT_TRUE(std::filesystem::exists(path("ours/web.sock")));
}

TEST_F(File, OfNotificationsThatWasReplacedIsNotGivenAway) {
  auto socket = NotifySocket::open_file(path("ours/notify"), std::nullopt);
  ASSERT_TRUE(socket.ok()) << socket.error().what;
  std::filesystem::rename(path("ours/notify"), path("ours/moved"));
  std::filesystem::create_symlink(path("victim/secret"), path("ours/notify"));
  Credentials user;
  user.uid = user.gid = stranger;
  EXPECT_FALSE(socket->give_to(user).ok());
  std::filesystem::remove(path("ours/notify"));
  ASSERT_EQ(::link(path("victim/secret").c_str(), path("ours/notify").c_str()), 0);
  EXPECT_FALSE(socket->give_to(user).ok());
  std::filesystem::remove(path("ours/notify"));
  expect_victim_untouched();
}

TEST_F(File, OfALockIsNoOtherFile) {
  const auto lock = [this] { return lock_instance(path("ours/control")); };
  const std::string file = path("ours/control.lock");
  std::filesystem::create_symlink(path("victim/secret"), file);
  EXPECT_FALSE(lock().ok());
  std::filesystem::remove(file);
  ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
  EXPECT_THAT(lock().error().what, HasSubstr("expected a plain file of this user"));
  std::filesystem::remove(file);
  std::ofstream(file) << "1\n";
  give(file);
  EXPECT_THAT(lock().error().what, HasSubstr("expected a plain file of this user"));
  std::filesystem::remove(file);
  ASSERT_EQ(::link(path("victim/secret").c_str(), file.c_str()), 0);
  EXPECT_TRUE(lock().ok()) << "a new file, and the other one is left alone";
  expect_victim_untouched();
}

TEST_F(File, OfADirectoryForReforkdIsWritableForNobodyElse) {
  const auto complaint = [this](const std::string& name, Others others) {
    const auto made = make_directory(path(name), 0700, others);
    return made ? "" : made.error().what;
  };
  EXPECT_EQ(complaint("ours", Others::may_not_write), "");
  EXPECT_THAT(complaint("theirs", Others::may_add), HasSubstr("others can write to it"));
  EXPECT_EQ(complaint("theirs/sub", Others::may_not_write), "") << "one that root has made there";
  struct Case {
    mode_t mode;
    bool alone, sticky;  // whether it will do
  };
  for (const auto& [mode, alone, sticky] :
       {Case{0755, true, true}, {01777, false, true}, {0777, false, false}, {0757, false, false}}) {
    ASSERT_EQ(::chmod(path("ours").c_str(), mode), 0);
    EXPECT_EQ(complaint("ours", Others::may_not_write).empty(), alone) << mode;
    EXPECT_EQ(complaint("ours", Others::may_add).empty(), sticky) << mode;
  }
  ASSERT_EQ(::chmod(path("ours").c_str(), 0770), 0);
  EXPECT_EQ(complaint("ours", Others::may_not_write), "") << "the group is this process's own";
  ASSERT_EQ(::chown(path("ours").c_str(), 0, stranger), 0);
  EXPECT_THAT(complaint("ours", Others::may_not_write), HasSubstr("others can write to it"));
}

TEST_F(File, OfADirectoryForReforkdIsNotFoundThroughAnothersLink) {
  link("victim", "theirs/state");
  EXPECT_EQ(make_directory(path("theirs/state"), 0700).error().code, ELOOP);
  link("victim", "theirs/way");
  EXPECT_EQ(make_directory(path("theirs/way/state"), 0700).error().code, ELOOP);
  expect_victim_untouched();
}

}  // namespace
}  // namespace refork::os
