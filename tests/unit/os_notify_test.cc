// Notifications over a real socket: from whom, what is kept and what is passed over.
#include "os/notify.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace refork::os {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::StartsWith;

class Notify : public ::testing::Test {
 protected:
  void SetUp() override {
    auto socket = NotifySocket::open();
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
  EXPECT_NE(NotifySocket::open()->name(), socket_.name());
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

}  // namespace
}  // namespace refork::os
