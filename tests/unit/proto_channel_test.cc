#include "proto/channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <set>
#include <string>

namespace refork::proto {
namespace {

class ChannelTest : public testing::Test {
 protected:
  void SetUp() override {
    auto pair = Channel::make_pair();
    ASSERT_TRUE(pair);
    primary.emplace(std::move(pair->primary));
    worker.emplace(std::move(pair->worker));
  }
  void raw(std::string_view packet) {
    ASSERT_EQ(::send(worker->fd(), packet.data(), packet.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(packet.size()));
  }
  template <class T>
  T received() {
    auto got = primary->receive();
    EXPECT_TRUE(std::holds_alternative<T>(got)) << "index " << got.index();
    return std::holds_alternative<T>(got) ? std::get<T>(std::move(got)) : T{};
  }
  std::string violation() { return received<Channel::Violation>().what; }

  std::optional<Channel> primary, worker;
};

std::set<std::string> open_descriptors() {
  std::set<std::string> open;
  for (int fd = 0; fd < 256; ++fd)
    if (::fcntl(fd, F_GETFD) >= 0) open.insert(std::to_string(fd));
  return open;
}

TEST_F(ChannelTest, IsMadeCloseOnExec) {
  EXPECT_TRUE(::fcntl(primary->fd(), F_GETFD) & FD_CLOEXEC);
  EXPECT_TRUE(::fcntl(worker->fd(), F_GETFD) & FD_CLOEXEC);
}

TEST_F(ChannelTest, CarriesMessagesInOrderBothWays) {
  ASSERT_TRUE(worker->send(Hello{}));
  ASSERT_TRUE(worker->send(Ready{}));
  ASSERT_TRUE(primary->send(DrainOrder{DrainReason::reload, 5000}));
  EXPECT_TRUE(std::holds_alternative<Hello>(received<Message>()));
  EXPECT_TRUE(std::holds_alternative<Ready>(received<Message>()));
  received<Channel::Empty>();
  const auto order = std::get<DrainOrder>(std::get<Message>(worker->receive()));
  EXPECT_EQ(order.reason, DrainReason::reload);
  EXPECT_EQ(order.deadline_ms, 5000u);
}

TEST_F(ChannelTest, CarriesTheLargestApplicationMessageAndRefusesALargerOne) {
  const AppMessage largest{"\"" + std::string(max_app_message - 2, 'x') + "\""};
  ASSERT_TRUE(worker->send(largest));
  EXPECT_EQ(std::get<AppMessage>(received<Message>()).body, largest.body);
  const auto refused = worker->send(AppMessage{"\"" + std::string(max_app_message - 1, 'x') + "\""});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EMSGSIZE);
  received<Channel::Empty>();
}

TEST_F(ChannelTest, RefusesToSendWhatTheTableDoesNotAllow) {
  EXPECT_EQ(worker->send(FailureNote{std::string(300, 'i'), Then::drain}).error().code, EMSGSIZE);
  EXPECT_EQ(worker->send(AppMessage{"{not json"}).error().code, EBADMSG);
  received<Channel::Empty>();
}

TEST_F(ChannelTest, SaysThatThePeersQueueIsFullAndLosesNothing) {
  std::size_t sent = 0;
  base::Result<void> result;
  while ((result = worker->send(Ready{}))) ++sent;
  EXPECT_EQ(result.error().code, EAGAIN);
  EXPECT_GT(sent, 10u);
  for (std::size_t i = 0; i < sent; ++i) received<Message>();
  received<Channel::Empty>();
  EXPECT_TRUE(worker->send(Ready{}));
}

TEST_F(ChannelTest, DeliversWhatWasSentBeforeThePeerWasGone) {
  ASSERT_TRUE(worker->send(Disconnect{}));
  worker.reset();
  EXPECT_TRUE(std::holds_alternative<Disconnect>(received<Message>()));
  received<Channel::Closed>();
  received<Channel::Closed>();
}

// The kernel then reports ECONNRESET once, ahead of what the peer had sent.
TEST_F(ChannelTest, DeliversItEvenIfThePeerLeftSomethingUnread) {
  ASSERT_TRUE(primary->send(DrainOrder{}));
  ASSERT_TRUE(worker->send(Disconnect{}));
  worker.reset();
  EXPECT_TRUE(std::holds_alternative<Disconnect>(received<Message>()));
  received<Channel::Closed>();
}

TEST_F(ChannelTest, SaysThatThereIsNoPeerAnyMoreWithoutASignal) {
  worker.reset();
  const auto sent = primary->send(DrainOrder{});
  ASSERT_FALSE(sent);
  EXPECT_TRUE(sent.error().code == EPIPE || sent.error().code == ECONNRESET);
}

TEST_F(ChannelTest, APacketThatIsNoMessageIsAViolation) {
  raw("hello");
  EXPECT_EQ(violation(), "a message is not valid JSON, at byte 1");
}

TEST_F(ChannelTest, AMessageLargerThanItsLimitIsAViolation) {
  raw(R"({"m":"ready"})" + std::string(300, ' '));
  EXPECT_EQ(violation(), "\"ready\" is at most 256 bytes");
  raw(std::string(max_packet + 1, ' '));
  EXPECT_EQ(violation(), "a message is at most 65536 bytes");
}

TEST_F(ChannelTest, AnEmptyPacketIsAViolationAndNotTheEnd) {
  raw("");
  EXPECT_EQ(violation(), "a packet without a message");
  raw("");
  raw(R"({"m":"ready"})");
  worker.reset();
  EXPECT_EQ(violation(), "a packet without a message");
}

TEST_F(ChannelTest, DescriptorsThatCameAlongNeverBecomeOurs) {
  const base::UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  char text[] = R"({"m":"ready"})";
  iovec io{text, sizeof text - 1};
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(2 * sizeof(int));
  const int fds[2] = {null.get(), null.get()};
  std::memcpy(CMSG_DATA(header), fds, sizeof fds);
  ASSERT_GT(::sendmsg(worker->fd(), &message, 0), 0);

  const auto before = open_descriptors();
  EXPECT_EQ(violation(), "descriptors came with a message that carries none");
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(ChannelTest, APeekedMessageIsTheNextOneUntilItIsConsumed) {
  ASSERT_TRUE(worker->send(Ready{}) && worker->send(Disconnect{true}));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(std::holds_alternative<Ready>(std::get<Message>(primary->peek())));
  primary->consume();
  EXPECT_TRUE(std::holds_alternative<Disconnect>(std::get<Message>(primary->peek())));
  primary->consume();
  EXPECT_TRUE(std::holds_alternative<Channel::Empty>(primary->peek()));
}

TEST_F(ChannelTest, AMessageIsConsumedThoughItsSenderLeftSomethingUnread) {
  ASSERT_TRUE(worker->send(Ready{}) && worker->send(Disconnect{true}));
  EXPECT_TRUE(std::holds_alternative<Ready>(std::get<Message>(primary->peek())));
  ASSERT_TRUE(primary->send(DrainOrder{}));
  worker.reset();
  primary->consume();
  EXPECT_TRUE(std::holds_alternative<Disconnect>(std::get<Message>(primary->peek())));
  primary->consume();
  EXPECT_TRUE(std::holds_alternative<Channel::Closed>(primary->peek()));
}

}  // namespace
}  // namespace refork::proto
