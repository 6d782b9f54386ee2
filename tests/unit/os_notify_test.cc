// Notifications over a real socket: from whom, what is kept and what is passed over.
#include "os/notify.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "support/process.h"

namespace refork::os {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::StartsWith;

class Notify : public ::testing::Test {
 protected:
  void SetUp() override {
    auto socket = NotifySocket::open_abstract();
    ASSERT_TRUE(socket.ok()) << socket.error().what;
    socket_ = *std::move(socket);
  }

  void send(const std::string& text, int passed_fd = -1) const {
    const base::UniqueFd sender(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path + 1, socket_.name().data() + 1, socket_.name().size() - 1);
    iovec part{const_cast<char*>(text.data()), text.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_name = &name;
    message.msg_namelen = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.name().size());
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (passed_fd >= 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      *header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
      std::memcpy(CMSG_DATA(header), &passed_fd, sizeof passed_fd);
    }
    ASSERT_EQ(::sendmsg(sender.get(), &message, 0), static_cast<ssize_t>(text.size()));
  }

  NotifySocket socket_;
};

TEST_F(Notify, HasANameInTheAbstractNamespace) {
  EXPECT_THAT(socket_.name(), StartsWith("@"));
  EXPECT_GT(socket_.name().size(), 1U);
  EXPECT_NE(::fcntl(socket_.fd(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(NotifySocket::open_abstract()->name(), socket_.name());
}

TEST_F(Notify, ReceivesNothingWithoutWaiting) { EXPECT_FALSE(socket_.receive().has_value()); }

TEST_F(Notify, HearsWhatSdNotifyOfAChildSays) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setenv("NOTIFY_SOCKET", socket_.name().c_str(), 1);
    ::_exit(::sd_notify(0, "READY=1\nSTATUS=a=b c") > 0 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  ASSERT_EQ(status, 0);
  const auto notification = socket_.receive();
  ASSERT_TRUE(notification.has_value());
  EXPECT_EQ(notification->pid, pid) << "although it is dead by now";
  EXPECT_THAT(notification->fields, ElementsAre(Pair("READY", "1"), Pair("STATUS", "a=b c")));
  EXPECT_FALSE(socket_.receive().has_value());
}

TEST_F(Notify, PassesOverWhatIsMalformed) {
  send("");
  send("no equals sign\n=no name\n\n");
  send(std::string("READY=1\0X=2", 11));
  send("A=" + std::string(4095, 'x'));  // 4097 bytes: one too many
  send("junk\nB=2\n");
  const auto notification = socket_.receive();
  ASSERT_TRUE(notification.has_value());
  EXPECT_THAT(notification->fields, ElementsAre(Pair("B", "2")));
}

TEST_F(Notify, TakesAMessageOf4096Bytes) {
  send("A=" + std::string(4094, 'x'));
  const auto notification = socket_.receive();
  ASSERT_TRUE(notification.has_value());
  EXPECT_EQ(notification->fields.at("A").size(), 4094U);
}

TEST_F(Notify, ClosesDescriptorsThatComeAlong) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const base::UniqueFd read_end(ends[0]);
  base::UniqueFd write_end(ends[1]);
  send("FDSTORE=1", write_end.get());
  write_end.reset();
  ASSERT_TRUE(socket_.receive().has_value());
  pollfd poll{read_end.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&poll, 1, 0), 1) << "nobody holds the other end any more";
}

TEST_F(Notify, TellsTheManagerIfThereIsOne) {
  ::unsetenv("NOTIFY_SOCKET");
  notify_manager("READY=1");
  EXPECT_FALSE(socket_.receive().has_value());
  ::setenv("NOTIFY_SOCKET", socket_.name().c_str(), 1);
  notify_manager("READY=1\nSTATUS=2 services");
  ::unsetenv("NOTIFY_SOCKET");
  const auto notification = socket_.receive();
  ASSERT_TRUE(notification.has_value());
  EXPECT_EQ(notification->pid, ::getpid());
  EXPECT_EQ(notification->fields.at("STATUS"), "2 services");
}

class NotifyFile : public ::testing::Test {
 protected:
  static struct stat status_of(const std::string& path) {
    struct stat status {};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
    return status;
  }
  // 0, or the errno of a message from a process with these ids.
  static int say_as(uid_t uid, gid_t gid, const std::string& path) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      if (::setgroups(0, nullptr) != 0 || ::setgid(gid) != 0 || ::setuid(uid) != 0) ::_exit(255);
      ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
      const int said = ::sd_notify(0, "READY=1");
      ::_exit(said > 0 ? 0 : -said);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  const test::TempDir dir_;
  const std::string path_ = dir_.file("notify");
};

TEST_F(NotifyFile, HasItsModeWhateverTheUmask) {
  for (const mode_t mask : {0U, 022U, 077U}) {
    const mode_t before = ::umask(mask);
    auto socket = NotifySocket::open_file(path_, std::nullopt);
    ::umask(before);
    ASSERT_TRUE(socket.ok()) << socket.error().what;
    EXPECT_EQ(socket->name(), path_);
    EXPECT_EQ(status_of(path_).st_mode, S_IFSOCK | 0600U);
    EXPECT_NE(::fcntl(socket->fd(), F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_EQ(say_as(::geteuid(), ::getegid(), path_), 0);
    EXPECT_TRUE(socket->receive());
    socket->remove();
    EXPECT_FALSE(std::filesystem::exists(path_));
  }
}

TEST_F(NotifyFile, ReplacesASocketThatIsThereAndNothingElse) {
  auto stale = NotifySocket::open_file(path_, std::nullopt);
  ASSERT_TRUE(stale.ok());
  auto socket = NotifySocket::open_file(path_, std::nullopt);
  ASSERT_TRUE(socket.ok()) << socket.error().what;
  stale->remove();
  EXPECT_TRUE(std::filesystem::exists(path_)) << "the file there is not its own any more";
  socket->remove();
  std::ofstream(path_) << "kept";
  const auto refused = NotifySocket::open_file(path_, std::nullopt);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, EEXIST);
  EXPECT_EQ(std::filesystem::file_size(path_), 4U);
}

TEST_F(NotifyFile, MayHaveAPathOf107Bytes) {
  const auto path = [this](std::size_t size) {
    return dir_.file(std::string(size - dir_.path().native().size() - 1, 'x'));
  };
  auto longest = NotifySocket::open_file(path(107), std::nullopt);
  ASSERT_TRUE(longest.ok()) << longest.error().what;
  auto adopted = NotifySocket::adopt(base::UniqueFd(::fcntl(longest->fd(), F_DUPFD_CLOEXEC, 3)));
  ASSERT_TRUE(adopted.ok());
  EXPECT_EQ(adopted->name(), path(107));
  const auto longer = NotifySocket::open_file(path(108), std::nullopt);
  ASSERT_FALSE(longer.ok());
  EXPECT_EQ(longer.error().code, ENAMETOOLONG);
  EXPECT_EQ(NotifySocket::open_file("relative", std::nullopt).error().code, ENAMETOOLONG);
}

TEST_F(NotifyFile, IsAdoptedAsLongAsItIsThere) {
  auto socket = NotifySocket::open_file(path_, std::nullopt);
  ASSERT_TRUE(socket.ok());
  const auto copy = [&socket] { return base::UniqueFd(::fcntl(socket->fd(), F_DUPFD_CLOEXEC, 3)); };
  auto adopted = NotifySocket::adopt(copy());
  ASSERT_TRUE(adopted.ok());
  EXPECT_EQ(adopted->name(), path_);
  adopted->remove();
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_EQ(NotifySocket::adopt(copy()).error().code, ENOENT);
  std::ofstream(path_) << "no socket";
  EXPECT_EQ(NotifySocket::adopt(copy()).error().code, ENOENT);
}

TEST_F(NotifyFile, IsForItsUserAlone) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0711), 0);
  const Credentials user{4321, 4321, {}, "its-user", "/"};
  auto socket = NotifySocket::open_file(path_, user);
  ASSERT_TRUE(socket.ok()) << socket.error().what;
  EXPECT_EQ(status_of(path_).st_uid, user.uid);
  EXPECT_EQ(say_as(user.uid, user.gid, path_), 0);
  EXPECT_EQ(say_as(user.uid + 1, user.gid, path_), EACCES) << "nor a member of its group";
  ASSERT_TRUE(socket->give_to(Credentials{4322, 4322, {}, "another", "/"}).ok());
  EXPECT_EQ(say_as(user.uid, user.gid, path_), EACCES);
  EXPECT_EQ(say_as(user.uid + 1, user.gid, path_), 0);
}

TEST_F(NotifyFile, IsNotMadeWhereItsUserDoesNotGet) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  const Credentials user{4321, 4321, {}, "its-user", "/"};
  const auto socket = NotifySocket::open_file(path_, user);
  ASSERT_FALSE(socket.ok());
  EXPECT_EQ(socket.error().code, EACCES);
  EXPECT_THAT(socket.error().what, ::testing::HasSubstr("as user its-user"));
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_EQ(::access(dir_.path().c_str(), W_OK), 0);
  std::ofstream(dir_.file("own")) << "this thread is root again";
  EXPECT_EQ(status_of(dir_.file("own")).st_uid, 0U);
}

class NotifyPairTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto pair = NotifySocket::make_pair();
    ASSERT_TRUE(pair.ok()) << pair.error().what;
    pair_ = *std::move(pair);
  }
  void say(std::string_view text) const {
    ASSERT_EQ(::send(pair_.sender.get(), text.data(), text.size(), MSG_DONTWAIT),
              static_cast<ssize_t>(text.size()));
  }
  bool readable() const {
    pollfd poll{pair_.socket.fd(), POLLIN, 0};
    return ::poll(&poll, 1, 0) == 1;
  }

  NotifyPair pair_;
};

TEST_F(NotifyPairTest, HasNoNameAndVouchesForTheSender) {
  EXPECT_EQ(pair_.socket.name(), "");
  EXPECT_FALSE(pair_.socket.receive());
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(::send(pair_.sender.get(), "READY=1", 7, 0) == 7 ? 0 : 1);
  int status = -1;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  ASSERT_EQ(status, 0);
  auto adopted = NotifySocket::adopt(base::UniqueFd(::fcntl(pair_.socket.fd(), F_DUPFD_CLOEXEC, 3)));
  ASSERT_TRUE(adopted.ok());
  EXPECT_EQ(adopted->name(), "");
  const auto notification = adopted->receive();
  ASSERT_TRUE(notification);
  EXPECT_EQ(notification->pid, pid);
}

TEST_F(NotifyPairTest, WhatComesAfterTooMuchThatIsMalformedIsReadInTheNextTurn) {
  constexpr int skipped_in_a_turn = 64;
  for (int i = 1; i < skipped_in_a_turn; ++i) say("malformed");
  say("A=1");
  ASSERT_TRUE(pair_.socket.receive()) << "one fewer: in the same turn";
  for (int i = 0; i < skipped_in_a_turn; ++i) say("malformed");
  say("B=2");
  EXPECT_FALSE(pair_.socket.receive());
  ASSERT_TRUE(readable());
  const auto notification = pair_.socket.receive();
  ASSERT_TRUE(notification);
  EXPECT_THAT(notification->fields, ElementsAre(Pair("B", "2")));
  EXPECT_FALSE(readable());
}

}  // namespace
}  // namespace refork::os
