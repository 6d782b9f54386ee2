// The load must see what a server does wrong, or its zeros prove nothing: here is a server that does each
// thing wrong on purpose.
#include "support/load.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <string>
#include <thread>

namespace {

using namespace refork::test;
using std::chrono::milliseconds;

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

// One thread, one connection after the other: reads a request, writes `answer`, and then does as told.
class WrongServer {
 public:
  enum class Then {
    keep,
    close,
    reset,
    stay_silent
  };
  WrongServer(std::string answer, Then then)
      : answer_(std::move(answer)), then_(then), listener_(listen_tcp()), thread_([this] { serve(); }) {}
  ~WrongServer() {
    stop_ = true;
    thread_.join();
  }
  Address address() const { return Address::tcp(listener_.second); }

 private:
  bool wait(int fd) const {
    pollfd item{fd, POLLIN, 0};
    while (!stop_)
      if (::poll(&item, 1, 10) > 0) return true;
    return false;
  }
  void serve() {
    while (wait(listener_.first.get())) {
      const refork::base::UniqueFd client(::accept4(listener_.first.get(), nullptr, nullptr, SOCK_CLOEXEC));
      while (wait(client.get()) && serve_one(client.get())) continue;
    }
  }
  bool serve_one(int fd) const {
    char request[4096];
    if (::recv(fd, request, sizeof request, 0) <= 0) return false;
    ::send(fd, answer_.data(), answer_.size(), MSG_NOSIGNAL);
    const linger at_once{1, 0};
    if (then_ == Then::reset) ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    return then_ == Then::keep || then_ == Then::stay_silent;
  }

  const std::string answer_;
  const Then then_;
  const std::pair<refork::base::UniqueFd, std::uint16_t> listener_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

LoadOptions one_client(const Address& address) {
  LoadOptions options;
  options.address = address;
  options.clients = 1;
  options.duration = milliseconds(100);
  options.patience = milliseconds(200);
  return options;
}

TEST(Load, CountsWholeAnswersAndReusesTheConnection) {
  WrongServer server{std::string(kOk), WrongServer::Then::keep};
  const LoadResult result = run_load(one_client(server.address()));
  EXPECT_GT(result.bystanders.ok(), 1U);
  EXPECT_EQ(result.bystanders.sent, result.bystanders.ok());
  EXPECT_EQ(result.noticed(), 0U);
  EXPECT_EQ(result.connections, 1U);
  EXPECT_EQ(result.latencies_us.size(), result.bystanders.ok());
}

TEST(Load, CountsAnswersOtherThan200) {
  WrongServer server{"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", WrongServer::Then::keep};
  const LoadResult result = run_load(one_client(server.address()));
  EXPECT_EQ(result.bystanders.answers(503), result.bystanders.sent);
  EXPECT_EQ(result.noticed(), result.bystanders.sent);
}

TEST(Load, AClientThatDoesNotReconnectEndsWithItsConnection) {
  WrongServer server{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                     WrongServer::Then::close};
  LoadOptions options = one_client(server.address());
  options.reconnect = false;
  const LoadResult result = run_load(options);
  EXPECT_EQ(result.bystanders.sent, 1U);
  EXPECT_EQ(result.bystanders.ok(), 1U);
}

TEST(Load, CountsAConnectionClosedInsteadOfAnAnswerAsLost) {
  WrongServer server{"", WrongServer::Then::close};
  const LoadResult result = run_load(one_client(server.address()));
  EXPECT_GT(result.bystanders.lost, 0U);
  EXPECT_EQ(result.bystanders.lost, result.bystanders.sent);
}

TEST(Load, CountsAnAnswerCutShortAsLost) {
  for (const char* part : {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", "HTTP/1.1 200 OK\r\nConte",
                           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"}) {
    WrongServer server{part, WrongServer::Then::close};
    const LoadResult result = run_load(one_client(server.address()));
    EXPECT_GT(result.bystanders.lost, 0U) << part;
    EXPECT_EQ(result.bystanders.lost, result.bystanders.sent) << part;
  }
}

TEST(Load, CountsAResetAsLost) {
  WrongServer server{"", WrongServer::Then::reset};
  const LoadResult result = run_load(one_client(server.address()));
  EXPECT_GT(result.bystanders.lost, 0U);
  EXPECT_EQ(result.bystanders.lost, result.bystanders.sent);
}

TEST(Load, CountsSilenceAsHung) {
  WrongServer server{"", WrongServer::Then::stay_silent};
  const LoadResult result = run_load(one_client(server.address()));
  EXPECT_EQ(result.bystanders.hung, 1U);
  EXPECT_EQ(result.noticed(), 1U);
}

TEST(Load, CountsARefusedConnection) {
  const std::uint16_t port = listen_tcp().second;  // closed again at once
  const LoadResult result = run_load(one_client(Address::tcp(port)));
  EXPECT_GT(result.bystanders.refused, 0U);
  EXPECT_EQ(result.noticed(), result.bystanders.refused);
}

TEST(Load, DoesNotTakeACloseBetweenRequestsForALoss) {
  WrongServer server{std::string(kOk), WrongServer::Then::close};
  LoadOptions options = one_client(server.address());
  options.pause = milliseconds(10);
  const LoadResult result = run_load(options);
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
  EXPECT_GT(result.closed_idle, 0U);
}

TEST(Load, ReconnectsAfterAnAnswerThatSaysClose) {
  WrongServer server{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
                     WrongServer::Then::close};
  const LoadResult result = run_load(one_client(server.address()));
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
  EXPECT_EQ(result.closed_by_answer, result.bystanders.ok());
  EXPECT_EQ(result.closed_idle, 0U);
}

TEST(Load, UsesANewConnectionForEachRequestIfAsked) {
  WrongServer server{std::string(kOk), WrongServer::Then::keep};
  LoadOptions options = one_client(server.address());
  options.keep_alive = false;
  const LoadResult result = run_load(options);
  EXPECT_EQ(result.noticed(), 0U) << result.summary();
  EXPECT_EQ(result.connections, result.bystanders.ok());
}

TEST(Load, CountsCulpritsApart) {
  WrongServer server{"HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n", WrongServer::Then::keep};
  LoadOptions options = one_client(server.address());
  options.clients = 0;
  options.culprit_path = "/error";
  options.culprit_rate = 100;
  const LoadResult result = run_load(options);
  EXPECT_EQ(result.bystanders.sent, 0U);
  EXPECT_GE(result.culprits.sent, 5U);
  EXPECT_EQ(result.culprits.answers(500), result.culprits.sent);
}

TEST(Load, SendsCulpritsOnTheClientsConnectionsIfAsked) {
  WrongServer server{std::string(kOk), WrongServer::Then::keep};
  LoadOptions options = one_client(server.address());
  options.culprit_path = "/error";
  options.culprit_rate = 100;
  options.culprits_in_pool = true;
  const LoadResult result = run_load(options);
  EXPECT_GE(result.culprits.sent, 5U);
  EXPECT_GT(result.bystanders.sent, 0U);
  EXPECT_EQ(result.connections, 1U);
}

TEST(AnswerParser, FindsTheEndOfAnAnswerHoweverItsBytesAreCut) {
  const std::string two =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: "
      "t\r\n\r\n" +
      std::string(kOk);
  for (std::size_t cut = 1; cut < two.size(); ++cut) {
    AnswerParser parser;
    std::size_t taken = parser.feed(std::string_view(two).substr(0, cut));
    if (!parser.done()) taken += parser.feed(std::string_view(two).substr(taken));
    ASSERT_TRUE(parser.done()) << cut;
    EXPECT_EQ(parser.body(), "abcde");
    EXPECT_EQ(two.substr(taken), kOk);
  }
}

TEST(AnswerParser, TakesTheEndOfTheConnectionForTheEndOnlyWhereItIs) {
  AnswerParser open;
  open.feed("HTTP/1.1 200 OK\r\n\r\nall there is");
  EXPECT_FALSE(open.done());
  open.feed_end();
  EXPECT_TRUE(open.done());
  EXPECT_TRUE(open.must_close());

  AnswerParser counted;
  counted.feed("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart");
  counted.feed_end();
  EXPECT_FALSE(counted.done());
}

TEST(AnswerParser, RefusesWhatIsNotHttp) {
  AnswerParser parser;
  parser.feed("SSH-2.0-server\r\n\r\n");
  EXPECT_EQ(parser.state(), AnswerParser::State::broken);
}

TEST(Address, ReadsWhatItWrites) {
  for (const char* text : {"tcp://127.0.0.1:80", "tcp://[::1]:8080", "unix:/run/web.sock"}) {
    const auto address = Address::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->text(), text);
  }
  EXPECT_FALSE(Address::parse("nowhere"));
  EXPECT_FALSE(Address::parse("tcp://host:port"));
}

}  // namespace
