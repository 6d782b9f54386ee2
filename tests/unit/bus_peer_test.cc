// Peers that cost too much, that may not do everything, or that speak D-Bus in a hurry.
#include <gmock/gmock.h>
#include <grp.h>

#include <cstring>

#include "bus_fixture.h"

namespace refork::bus {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// How many large events a peer that reads nothing survives.
std::size_t events_until_dropped(Bus& bus, RawPeer& peer, const std::function<void()>& turn) {
  core::Event event{.type = "worker-ready"};
  event.text = std::string(4000, 'x');
  for (std::size_t sent = 1; sent < 100'000; ++sent) {
    bus.event(event);
    turn();
    if (peer.hung_up()) return sent;
  }
  return 0;
}

TEST_F(BusTest, APeerThatDoesNotReadIsDroppedAtTheLimitOfItsQueue) {
  std::vector<std::size_t> survived;
  for (const std::uint64_t limit : {4u, 9u}) {
    Options options;
    options.limits.write_queue = limit;
    listen(options);
    RawPeer slow(path_), other(path_);
    ASSERT_TRUE(turn_until([&] { return slow.ready() && other.ready(); }));
    survived.push_back(events_until_dropped(*bus_, slow, [&] {
      for (int i = 0; i < 3; ++i) sd_event_run(loop_, 0);
      other.process();
    }));
    EXPECT_FALSE(other.hung_up()) << "who reads, stays";
  }
  EXPECT_GT(survived[0], 4u);
  EXPECT_EQ(survived[1] - survived[0], 5u) << "what the kernel holds is the same for both";
}

TEST_F(BusTest, APeerThatAsksWithoutReadingIsDropped) {
  Options options;
  options.limits.write_queue = 4;
  listen(options);
  RawPeer peer(path_);
  ASSERT_TRUE(turn_until([&] { return peer.ready(); }));
  // Introspection is answered by sd-bus itself: the limit must hold there, too.
  EXPECT_TRUE(turn_until([&] {
    sd_bus_call_method_async(
        peer.bus(), nullptr, nullptr, "/org/refork1", "org.freedesktop.DBus.Introspectable", "Introspect",
        [](sd_bus_message*, void*, sd_bus_error*) { return 0; }, nullptr, "");
    return peer.hung_up();
  }));
}

TEST_F(BusTest, APeerThatNeverSaysWhoItIsIsDropped) {
  Options options;
  options.limits.authentication = std::chrono::milliseconds(20);
  listen(options);
  RawPeer known(path_);
  ASSERT_TRUE(turn_until([&] { return known.ready(); }));
  const base::UniqueFd silent = connect_raw(path_);
  EXPECT_TRUE(turn_until([&] { return hung_up(silent); }));
  EXPECT_FALSE(known.hung_up()) << "who has said so in time may be as silent as it likes";
}

TEST_F(BusTest, OneConnectionMoreThanTheLimitIsRefused) {
  Options options;
  options.limits.connections = 3;
  options.limits.reserved = 1;
  listen(options);
  std::vector<base::UniqueFd> open;
  for (int i = 0; i < 3; ++i) open.push_back(connect_raw(path_));
  base::UniqueFd fourth = connect_raw(path_);
  EXPECT_TRUE(turn_until([&] { return hung_up(fourth); }));
  for (const auto& fd : open) EXPECT_FALSE(hung_up(fd));
  open.pop_back();
  // There is room again once the end of one was noticed.
  EXPECT_TRUE(turn_until([&] {
    RawPeer again(path_);
    for (int i = 0; i < 20 && !again.ready(); ++i) sd_event_run(loop_, 1000);
    return again.ready();
  }));
}

// A message with everything that has to be said before, in one write, as libdbus does it.
std::string hurried_ping() {
  std::string hex;
  for (const char digit : std::to_string(::geteuid())) hex += "3" + std::string(1, digit);
  std::string fields;
  const auto field = [&](char code, char type, std::string_view value) {
    fields.resize((fields.size() + 7) / 8 * 8);
    const auto length = static_cast<std::uint32_t>(value.size());
    fields += code;
    fields += std::string("\1") + type + '\0';
    fields.append(reinterpret_cast<const char*>(&length), 4).append(value).push_back('\0');
  };
  field(1, 'o', "/org/refork1");
  field(2, 's', "org.freedesktop.DBus.Peer");
  field(3, 's', "Ping");
  const std::uint32_t head[] = {0x01000001u << 8 >> 8, 0, 1, static_cast<std::uint32_t>(fields.size())};
  std::string message(reinterpret_cast<const char*>(head), sizeof head);
  message[0] = 'l';
  message[1] = 1;
  message[2] = 0;
  message[3] = 1;
  fields.resize((fields.size() + 7) / 8 * 8);
  return std::string(1, '\0') + "AUTH EXTERNAL " + hex + "\r\nBEGIN\r\n" + message + fields;
}

TEST_F(BusTest, AMessageThatComesTogetherWithTheAuthenticationIsAnswered) {
  const base::UniqueFd peer = connect_raw(path_);
  const std::string words = hurried_ping();
  ASSERT_EQ(::send(peer.get(), words.data(), words.size(), 0), static_cast<ssize_t>(words.size()));
  std::string answer;
  EXPECT_TRUE(turn_until([&] {
    char buffer[512];
    const auto count = ::recv(peer.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (count > 0) answer.append(buffer, static_cast<std::size_t>(count));
    const auto end = answer.find("\r\n");
    return end != std::string::npos && answer.size() > end + 2 + 16;
  }));
  EXPECT_THAT(answer, HasSubstr("OK "));
}

TEST_F(BusTest, DbusSendIsAnsweredEveryTime) {
  if (::system("command -v dbus-send >/dev/null") != 0) GTEST_SKIP() << "no dbus-send";
  for (int i = 0; i < 5; ++i) {
    const auto [code, output] =
        command("timeout 10 dbus-send --peer=unix:path=" + path_ +
                " --print-reply --reply-timeout=5000 /org/refork1 org.freedesktop.DBus.Peer.Ping");
    EXPECT_EQ(code, 0) << output;
  }
}

class AccessTest : public BusTest {
 protected:
  static constexpr uid_t stranger = 65533;
  static constexpr gid_t operators = 65534;  // group nogroup

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
    BusTest::SetUp();
    Options options;
    options.group = "nogroup";
    listen(options);
    ASSERT_EQ(::chmod(path_.c_str(), 0666), 0);
  }
  void TearDown() override {
    if (::geteuid() == 0) BusTest::TearDown();
  }
  // 0 where it worked, otherwise the error's code.
  int as(uid_t uid, gid_t gid, const std::vector<gid_t>& groups,
         const std::function<int(ctl::Client&)>& work) {
    return in_child([&] {
      if (::setgroups(groups.size(), groups.data()) < 0 || ::setgid(gid) < 0 || ::setuid(uid) < 0) return 98;
      auto client = ctl::Client::connect(path_);
      return client ? work(*client) : client.error().code;
    });
  }
  template <class T>
  static int code(const base::Result<T>& result) {
    return result ? 0 : result.error().code;
  }
  static int read_status(ctl::Client& client) { return code(client.status()); }
  static int read_failures(ctl::Client& client) { return code(client.failures({})); }
  static int read_failure(ctl::Client& client) { return code(client.failure("a")); }
  static int read_top(ctl::Client& client) { return code(client.top_failures({})); }
  static int stop(ctl::Client& client) { return code(client.operate({"Stop", "web", 0, "", true})); }
  static int send(ctl::Client& client) { return code(client.operate({"Send", "web", 0, "1", true})); }
  static int scale(ctl::Client& client) { return code(client.operate({"Scale", "web", 1, "", true})); }
  static int clear(ctl::Client& client) { return code(client.clear_failures("")); }
};

TEST_F(AccessTest, AStrangerReadsTheStatusAndNothingElse) {
  operations_.records = {"a"};
  EXPECT_EQ(as(stranger, stranger, {}, read_status), 0);
  for (auto* work : {read_failures, read_failure, read_top, stop, send, scale, clear})
    EXPECT_EQ(as(stranger, stranger, {}, work), EACCES);
  EXPECT_THAT(operations_.calls, ElementsAre());
}

TEST_F(AccessTest, AMemberOfTheGroupOperatesAndReadsFailures) {
  operations_.records = {"a"};
  for (auto* work : {read_status, read_failures, read_failure, stop, send, scale})
    EXPECT_EQ(as(stranger, stranger, {operators}, work), 0);
  EXPECT_EQ(as(stranger, operators, {}, stop), 0) << "by its primary group";
  EXPECT_EQ(as(stranger, operators, {}, clear), EACCES);
}

TEST_F(AccessTest, AStrangerHearsEventsButNoMessages) {
  std::uint64_t turns = 0;
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    if (::setgroups(0, nullptr) < 0 || ::setgid(stranger) < 0 || ::setuid(stranger) < 0) ::_exit(98);
    auto client = ctl::Client::connect(path_);
    int events = 0;
    (void)client->follow(
        [&](const ctl::Event& event) {
          if (event.text != "exception 01ab") ::_exit(6);
          return ++events < 3;
        },
        [](std::uint64_t, std::string_view) -> bool { ::_exit(5); });
    ::_exit(events == 3 ? 0 : 1);
  }
  int status = 0;
  ASSERT_TRUE(turn_until([&] {
    bus_->message(17, "{\"secret\":1}");
    bus_->event({++turns, 0, "failure", "", {}, 0, 0, "exception 01ab", "std::runtime_error: a secret"});
    return ::waitpid(child, &status, WNOHANG) == child;
  }));
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(AccessTest, AStrangerLearnsWhyButNotWhatErrorsSay) {
  core::HistoryEntry entry;
  entry.what = "failure";
  entry.detail = "std::runtime_error: a secret";
  operations_.reasons = core::Why{"api", {}, {}, {entry}};
  const auto detail_as = [&](const std::vector<gid_t>& groups) {
    return as(stranger, stranger, groups, [](ctl::Client& client) {
      const auto why = client.why("api");
      return why && why->history.size() == 1 ? static_cast<int>(why->history[0].detail.size()) : 97;
    });
  };
  EXPECT_EQ(detail_as({}), 0);
  EXPECT_EQ(detail_as({operators}), static_cast<int>(entry.detail.size()));
}

TEST_F(AccessTest, SomePlacesAreReservedForTheOwner) {
  Options options;
  options.limits.connections = 3;
  options.limits.reserved = 1;
  listen(options);
  ASSERT_EQ(::chmod(path_.c_str(), 0666), 0);
  const int strangers = in_child([&] {
    if (::setgid(stranger) < 0 || ::setuid(stranger) < 0) return 98;
    std::vector<base::UniqueFd> open;
    for (int i = 0; i < 4; ++i) open.push_back(connect_raw(path_));
    ::alarm(20);
    const auto refused = [&] {
      return std::count_if(open.begin(), open.end(), [](const auto& fd) { return hung_up(fd); });
    };
    while (refused() < 2) ::poll(nullptr, 0, 1);
    return 4 - static_cast<int>(refused());
  });
  EXPECT_EQ(strangers, 2);
}

}  // namespace
}  // namespace refork::bus
