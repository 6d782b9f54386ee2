// Real sockets: what an address may look like, what is opened, and the words for what cannot be.
#include "os/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace refork::os {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string complaint(const std::string& address) {
  const auto parsed = parse_address(address);
  return parsed.ok() ? "accepted" : parsed.error().what;
}

TEST(Address, IsTakenApart) {
  const auto v4 = parse_address("tcp://127.0.0.1:80");
  ASSERT_TRUE(v4.ok());
  EXPECT_EQ(v4->family, Address::Family::tcp);
  EXPECT_EQ(v4->host, "127.0.0.1");
  EXPECT_EQ(v4->port, "80");
  const auto v6 = parse_address("tcp://[fe80::1]:8080");
  ASSERT_TRUE(v6.ok());
  EXPECT_EQ(v6->host, "fe80::1");
  EXPECT_EQ(v6->port, "8080");
  const auto local = parse_address("unix:/run/web.sock");
  ASSERT_TRUE(local.ok());
  EXPECT_EQ(local->family, Address::Family::unix_socket);
  EXPECT_EQ(local->path, "/run/web.sock");
}

TEST(Address, HasAPortFrom0To65535) {
  EXPECT_EQ(complaint("tcp://h:0"), "accepted");
  EXPECT_EQ(complaint("tcp://h:65535"), "accepted");
  for (const char* port : {"65536", "-1", "+1", "", "http", "80a", "99999999999999999999"})
    EXPECT_EQ(
        complaint(std::string("tcp://h:") + port),
        std::string("tcp://h:") + port + ": \"" + port + "\" is no port, expected a number from 0 to 65535");
}

TEST(Address, SaysWhatWasExpected) {
  EXPECT_EQ(complaint("0.0.0.0:80"), "0.0.0.0:80: expected tcp://HOST:PORT or unix:/PATH");
  EXPECT_EQ(complaint(""), ": expected tcp://HOST:PORT or unix:/PATH");
  EXPECT_EQ(complaint("tcp://h"), "tcp://h: the port is missing, expected tcp://HOST:PORT");
  EXPECT_EQ(complaint("tcp://[::1]"), "tcp://[::1]: the port is missing, expected tcp://HOST:PORT");
  EXPECT_EQ(complaint("tcp://::1:80"),
            "tcp://::1:80: expected an IPv6 address in brackets, as in tcp://[::1]:80");
  EXPECT_THAT(complaint("tcp://:80"), HasSubstr("the host is missing"));
  EXPECT_THAT(complaint("tcp://[]:80"), HasSubstr("the host is missing"));
  EXPECT_THAT(complaint("tcp://a/b:80"), HasSubstr("\"a/b\" is no host"));
  EXPECT_THAT(complaint("unix:"), HasSubstr("the path is missing"));
  EXPECT_THAT(complaint("unix:@name"), HasSubstr("abstract sockets are not supported"));
}

TEST(Address, TakesAPathOfAtMost107Bytes) {
  EXPECT_EQ(complaint("unix:/" + std::string(106, 'x')), "accepted");
  EXPECT_THAT(complaint("unix:/" + std::string(107, 'x')),
              EndsWith("the path has 108 bytes, a socket's path can have at most 107"));
}

class Listener : public ::testing::Test {
 protected:
  Listener() : directory_(::testing::TempDir() + "refork-listener-" + std::to_string(::getpid())) {
    std::filesystem::create_directory(directory_);
  }
  ~Listener() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  static ListenSocket open(const std::string& address, bool nonblocking = true) {
    auto socket = ListenSocket::open(address, nonblocking);
    EXPECT_TRUE(socket.ok()) << (socket.ok() ? "" : socket.error().what);
    return *std::move(socket);
  }
  static base::Error error(const std::string& address) {
    const auto socket = ListenSocket::open(address, true);
    return socket.ok() ? base::Error{0, "it was opened"} : socket.error();
  }

 private:
  std::string directory_;
};

std::uint16_t port_of(const ListenSocket& socket) {
  const std::string& address = socket.address();
  return static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
}

template <class Name>
bool connects(int family, const Name& name) {
  const base::UniqueFd client(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(client.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
}

bool connects_v4(std::uint16_t port) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(port);
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return connects(AF_INET, name);
}

bool connects_v6(std::uint16_t port) {
  sockaddr_in6 name{};
  name.sin6_family = AF_INET6;
  name.sin6_port = htons(port);
  name.sin6_addr = in6addr_loopback;
  return connects(AF_INET6, name);
}

bool connects_to(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::strncpy(name.sun_path, path.c_str(), sizeof name.sun_path - 1);
  return connects(AF_UNIX, name);
}

TEST_F(Listener, TellsThePortThatTheKernelChose) {
  const ListenSocket socket = open("tcp://127.0.0.1:0");
  EXPECT_THAT(socket.address(), StartsWith("tcp://127.0.0.1:"));
  EXPECT_GT(port_of(socket), 0);
  EXPECT_TRUE(connects_v4(port_of(socket)));
}

TEST_F(Listener, IsNonblockingIfAskedAndNeverInherited) {
  const ListenSocket socket = open("tcp://127.0.0.1:0", true), blocking = open("tcp://127.0.0.1:0", false);
  EXPECT_NE(::fcntl(socket.fd(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(::fcntl(blocking.fd(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(socket.fd(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(Listener, TakesIPv4AsWellWhenItListensOnAllOfIPv6) {
  const ListenSocket both = open("tcp://[::]:0"), one = open("tcp://[::1]:0");
  EXPECT_THAT(both.address(), StartsWith("tcp://[::]:"));
  EXPECT_TRUE(connects_v4(port_of(both)));
  EXPECT_TRUE(connects_v6(port_of(both)));
  EXPECT_FALSE(connects_v4(port_of(one)));
  EXPECT_TRUE(connects_v6(port_of(one)));
}

TEST_F(Listener, ResolvesANameToItsIPv4Address) {
  const ListenSocket socket = open("tcp://localhost:0");
  EXPECT_THAT(socket.address(), StartsWith("tcp://localhost:"));
  EXPECT_TRUE(connects_v4(port_of(socket)));
}

TEST_F(Listener, SaysThatAPortIsTaken) {
  const ListenSocket first = open("tcp://127.0.0.1:0");
  const base::Error taken = error(first.address());
  EXPECT_EQ(taken.code, EADDRINUSE);
  EXPECT_EQ(taken.what, first.address() + ": the port is taken (Address already in use)");
  EXPECT_THAT(error("tcp://[::]:" + std::to_string(port_of(first))).what,
              HasSubstr("[::] takes IPv4 as well"));
}

TEST_F(Listener, SaysThatALowPortNeedsARight) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_EQ(::seteuid(65534), 0);
  const base::Error refused = error("tcp://127.0.0.1:1");
  ASSERT_EQ(::seteuid(0), 0);
  if (refused.code == 0) GTEST_SKIP() << "this machine has no privileged ports";
  EXPECT_EQ(refused.code, EACCES);
  EXPECT_THAT(refused.what, HasSubstr("needs root or CAP_NET_BIND_SERVICE"));
}

TEST_F(Listener, SaysThatAnAddressIsNotOfThisMachine) {
  EXPECT_EQ(error("tcp://192.0.2.1:80").what,
            "tcp://192.0.2.1:80: this machine has no such address (Cannot assign requested address)");
  EXPECT_THAT(error("tcp://no such:80").what, HasSubstr("is no host"));
  EXPECT_THAT(error("tcp://256.0.0.1.invalid:80").what, HasSubstr("is no address and no known name"));
}

TEST_F(Listener, SuitsOnlyTheWholeAddressItIsBoundTo) {
  const ListenSocket all = open("tcp://0.0.0.0:0"), one = open("tcp://127.0.0.1:0");
  const std::string port = ":" + std::to_string(port_of(all)), other = ":" + std::to_string(port_of(one));
  EXPECT_EQ(ListenSocket::suits("tcp://0.0.0.0" + port, all.fd()), 2);
  EXPECT_EQ(ListenSocket::suits("tcp://0.0.0.0:0", all.fd()), 1);
  for (const char* host : {"127.0.0.1", "[::]", "localhost"})
    EXPECT_EQ(ListenSocket::suits("tcp://" + (host + port), all.fd()), 0) << host;
  EXPECT_EQ(ListenSocket::suits("tcp://127.0.0.1:0", all.fd()), 0);
  EXPECT_EQ(ListenSocket::suits("tcp://127.0.0.1" + other, one.fd()), 2);
  EXPECT_EQ(ListenSocket::suits("tcp://localhost" + other, one.fd()), 2);
  EXPECT_EQ(ListenSocket::suits("tcp://127.0.0.1" + port, one.fd()), 0);
  const ListenSocket six = open("tcp://[::]:0");
  const std::string at = std::to_string(port_of(six));
  EXPECT_EQ(ListenSocket::suits("tcp://[0:0::0]:" + at, six.fd()), 2) << "spelled otherwise";
  EXPECT_EQ(ListenSocket::suits("tcp://0.0.0.0:" + at, six.fd()), 0) << "it takes IPv6 as well";
  const ListenSocket local = open("unix:" + path("web.sock"));
  EXPECT_EQ(ListenSocket::suits("unix:" + path("web.sock"), local.fd()), 2);
  EXPECT_EQ(ListenSocket::suits("unix:" + path("other.sock"), local.fd()), 0);
  EXPECT_EQ(ListenSocket::suits("tcp://127.0.0.1:0", local.fd()), 0);
}

TEST_F(Listener, IsInTheWayOfAnyAddressWithItsPort) {
  const ListenSocket all = open("tcp://0.0.0.0:0"), local = open("unix:" + path("web.sock"));
  EXPECT_EQ(ListenSocket::address_of(all.fd()), all.address());
  EXPECT_EQ(ListenSocket::address_of(local.fd()), local.address());
  EXPECT_EQ(ListenSocket::address_of(STDIN_FILENO), "");
  EXPECT_TRUE(ListenSocket::in_the_way("tcp://127.0.0.1:" + std::to_string(port_of(all)), all.fd()));
  EXPECT_FALSE(ListenSocket::in_the_way("tcp://127.0.0.1:1", all.fd()));
  EXPECT_FALSE(ListenSocket::in_the_way(local.address(), local.fd()));
}

TEST_F(Listener, NoticesAShutdownByAnyHolderAndOpensAgain) {
  ListenSocket socket = open("tcp://127.0.0.1:0");
  const std::string address = socket.address();
  EXPECT_FALSE(socket.broken());
  const base::UniqueFd worker(::fcntl(socket.fd(), F_DUPFD_CLOEXEC, 3));
  ASSERT_EQ(::shutdown(worker.get(), SHUT_RDWR), 0);
  EXPECT_TRUE(socket.broken());
  EXPECT_FALSE(connects_v4(port_of(socket)));
  ASSERT_TRUE(socket.reopen().ok()) << "although the worker still holds the broken one";
  EXPECT_FALSE(socket.broken());
  EXPECT_EQ(socket.address(), address);
  EXPECT_TRUE(connects_v4(port_of(socket)));
}

TEST_F(Listener, NoticesAUnixSocketThatNoLongerReads) {
  for (const int how : {SHUT_RD, SHUT_RDWR}) {
    ListenSocket socket = open("unix:" + path("web.sock"));
    EXPECT_FALSE(socket.broken());
    const base::UniqueFd worker(::fcntl(socket.fd(), F_DUPFD_CLOEXEC, 3));
    ASSERT_EQ(::shutdown(worker.get(), how), 0);
    EXPECT_TRUE(socket.broken());
    EXPECT_FALSE(connects_to(path("web.sock")));
    ASSERT_TRUE(socket.reopen().ok());
    EXPECT_TRUE(connects_to(path("web.sock")));
    socket.unlink_path();
  }
}

TEST_F(Listener, KeepsItsPortInUseWhileOldConnectionsEnd) {
  ListenSocket socket = open("tcp://127.0.0.1:0");
  ASSERT_TRUE(connects_v4(port_of(socket)));
  const base::UniqueFd accepted(::accept4(socket.fd(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(accepted);
  EXPECT_TRUE(socket.reopen().ok()) << "SO_REUSEADDR";
}

TEST_F(Listener, RemovesTheFileOfADeadSocket) {
  { const ListenSocket dead = open("unix:" + path("web.sock")); }
  ASSERT_TRUE(std::filesystem::exists(path("web.sock"))) << "the destructor leaves it for whoever comes next";
  const ListenSocket socket = open("unix:" + path("web.sock"));
  EXPECT_TRUE(connects_to(path("web.sock")));
}

TEST_F(Listener, LeavesALivingSocketAndAnyOtherFileAlone) {
  const ListenSocket living = open("unix:" + path("web.sock"));
  const base::Error taken = error("unix:" + path("web.sock"));
  EXPECT_EQ(taken.code, EADDRINUSE);
  EXPECT_THAT(taken.what, EndsWith("another process listens there (Address already in use)"));
  EXPECT_TRUE(connects_to(path("web.sock")));
  std::ofstream(path("notes")) << "precious";
  EXPECT_THAT(error("unix:" + path("notes")).what, HasSubstr("there is a file that is no socket"));
  EXPECT_EQ(std::filesystem::file_size(path("notes")), 8U);
}

TEST_F(Listener, SaysThatTheDirectoryIsMissing) {
  EXPECT_THAT(error("unix:" + path("missing/web.sock")).what,
              EndsWith("the directory does not exist (No such file or directory)"));
}

TEST_F(Listener, UnlinksOnlyItsOwnFile) {
  ListenSocket first = open("unix:" + path("web.sock"));
  std::filesystem::rename(path("web.sock"), path("moved.sock"));  // so that its inode is not used again
  ListenSocket second = open("unix:" + path("web.sock"));
  first.unlink_path();
  EXPECT_TRUE(connects_to(path("web.sock")));
  second.unlink_path();
  EXPECT_FALSE(std::filesystem::exists(path("web.sock")));
}

}  // namespace
}  // namespace refork::os
