// The system bus: a dbus-daemon of the test's own, with the policy that is installed, in the place of the
// machine's.
#include <gmock/gmock.h>
#include <grp.h>
#include <signal.h>

#include <fstream>

#include "bus/system_bus.h"
#include "bus_fixture.h"

namespace refork::bus {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr const char* policy_file = REFORK_BUS_POLICY;
constexpr uid_t stranger = 1;       // daemon: dbus-daemon lets nobody in whom it cannot look up
constexpr gid_t operators = 65534;  // group nogroup

class SystemBusTest : public BusTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "the policy lets only root have the name";
    BusTest::SetUp();
    address_ = "unix:path=" + directory_ + "/system";
    std::ofstream(directory_ + "/bus.conf")
        << "<busconfig><type>system</type><listen>" << address_ << "</listen><auth>EXTERNAL</auth>"
        << "<policy context='default'><allow user='*'/><deny own='*'/><deny send_type='method_call'/>"
        << "<allow send_type='signal'/><allow send_requested_reply='true'/><allow receive_type='signal'/>"
        << "<allow receive_type='method_call'/><allow receive_requested_reply='true'/>"
        << "<allow send_destination='org.freedesktop.DBus'/></policy>"
        << "<include>" << policy_file << "</include></busconfig>";
  }
  void TearDown() override {
    if (::geteuid() != 0) return;
    end_daemon();
    BusTest::TearDown();
  }

  void start_daemon() {
    std::filesystem::remove(directory_ + "/system");
    daemon_ = ::fork();
    if (daemon_ == 0) {
      ::execlp("dbus-daemon", "dbus-daemon", "--nofork", "--nopidfile",
               ("--config-file=" + directory_ + "/bus.conf").c_str(), nullptr);
      ::_exit(127);
    }
    ASSERT_TRUE(turn_until([&] { return std::filesystem::exists(directory_ + "/system"); }));
  }
  void end_daemon() {
    if (daemon_ <= 0) return;
    ::kill(daemon_, SIGKILL);
    ::waitpid(daemon_, nullptr, 0);
    daemon_ = 0;
  }

  Options options() {
    Options options;
    options.group = "nogroup";
    options.system_bus = SystemBusOptions{address_, [this](bool trouble, const std::string& what) {
                                            said_.push_back((trouble ? "trouble: " : "fine: ") + what);
                                          }};
    return options;
  }
  void join() {
    start_daemon();
    listen(options());
    ASSERT_TRUE(turn_until([&] { return !said_.empty(); }));
    ASSERT_THAT(said_, ElementsAre("fine: has the name org.refork1 on the system bus"));
  }
  // A busctl that is run as somebody: its exit code and all it wrote.
  std::pair<int, std::string> busctl(uid_t uid, const std::string& groups, const std::string& arguments) {
    const std::string who =
        uid == 0 ? ""
                 : "setpriv --reuid " + std::to_string(uid) + " --regid " + std::to_string(uid) +
                       (groups.empty() ? " --clear-groups " : " --groups " + groups + " ");
    ::chmod(directory_.c_str(), 0755);
    return command(who + "busctl --no-pager --timeout=10 --address=" + address_ + " " + arguments);
  }
  std::pair<int, std::string> call(uid_t uid, const std::string& groups, const std::string& what) {
    return busctl(uid, groups, "call org.refork1 /org/refork1 org.refork1.Manager " + what);
  }

  std::string address_;
  std::vector<std::string> said_;
  pid_t daemon_ = 0;
};

TEST_F(SystemBusTest, EverybodySeesTheObjectsAndReadsTheStatus) {
  join();
  for (const uid_t uid : {uid_t{0}, stranger}) {
    const auto [code, text] = busctl(uid, "", "introspect org.refork1 /org/refork1");
    EXPECT_EQ(code, 0) << text;
    EXPECT_THAT(text, HasSubstr("org.refork1.Manager"));
    EXPECT_THAT(text, HasSubstr(".FailureRecorded"));
    EXPECT_EQ(busctl(uid, "", "get-property org.refork1 /org/refork1/service/api org.refork1.Service State"),
              std::pair(0, std::string("s \"stopped\"\n")));
  }
}

TEST_F(SystemBusTest, AStrangerOperatesNothingAndReadsNoFailure) {
  join();
  operations_.records = {"{\"id\":\"a\"}"};
  for (const std::string what : {"Stop sb api false", "Kill sb api/0 false", "Send ss api 1",
                                 "Scale sub api 2 false", "ListFailures 'a{sv}' 0", "TopFailures 'a{sv}' 0",
                                 "GetFailure s a", "ClearFailures s ''", "DaemonReexec"}) {
    const auto [code, text] = call(stranger, "", what);
    EXPECT_NE(code, 0) << what;
    EXPECT_THAT(text, HasSubstr("Access denied")) << what;
  }
  EXPECT_THAT(operations_.calls, IsEmpty());
}

TEST_F(SystemBusTest, AMemberOfTheGroupOperatesAndReadsFailures) {
  join();
  operations_.records = {"{\"id\":\"a\"}"};
  const std::string member = std::to_string(operators);
  EXPECT_EQ(call(stranger, member, "Stop sb api true").first, 0);
  EXPECT_THAT(call(stranger, member, "ListFailures 'a{sv}' 1 limit u 5").second, HasSubstr("id"));
  EXPECT_NE(call(stranger, member, "ClearFailures s ''").first, 0) << "that is for root";
  EXPECT_EQ(call(0, "", "ClearFailures s ''").first, 0);
  EXPECT_THAT(operations_.calls, ElementsAre("stop api", "clear "));
  EXPECT_THAT(operations_.orders, Contains("stop uid 1"));
}

TEST_F(SystemBusTest, AStrangerLearnsWhyWithoutTexts) {
  join();
  core::HistoryEntry entry;
  entry.what = "failure";
  entry.text = "exception 01ab";
  entry.detail = "std::runtime_error: a secret";
  operations_.reasons = core::Why{"api", {}, {}, {entry}};
  const auto [code, text] = call(stranger, "", "Why s api");
  EXPECT_EQ(code, 0) << text;
  EXPECT_THAT(text, HasSubstr("failure"));
  EXPECT_THAT(text, Not(HasSubstr("01ab")));
  EXPECT_THAT(text, Not(HasSubstr("secret")));
  EXPECT_THAT(call(stranger, std::to_string(operators), "Why s api").second, HasSubstr("a secret"));
}

// What everybody may hear, read as a stranger that has asked for all signals.
class Eavesdropper {
 public:
  explicit Eavesdropper(const std::string& address) {
    sd_bus* made = nullptr;
    EXPECT_GE(sd_bus_new(&made), 0);
    bus_.reset(made);
    EXPECT_GE(sd_bus_set_address(made, address.c_str()), 0);
    EXPECT_GE(sd_bus_set_bus_client(made, 1), 0);
    EXPECT_GE(sd_bus_start(made), 0);
    EXPECT_GE(sd_bus_add_match(made, nullptr, "type='signal',path_namespace='/org/refork1'", on_signal, this),
              0);
  }
  void process() {
    while (sd_bus_process(bus_.get(), nullptr) > 0) {
    }
  }
  std::vector<std::string> heard;  // "MEMBER text text ..."

 private:
  static int on_signal(sd_bus_message* message, void* userdata, sd_bus_error*) noexcept {
    std::string all = sd_bus_message_get_member(message);
    read_strings(message, all);
    static_cast<Eavesdropper*>(userdata)->heard.push_back(all);
    return 0;
  }
  // All strings of a message, however deep.
  static void read_strings(sd_bus_message* message, std::string& all) {
    char type = 0;
    const char* contents = nullptr;
    while (sd_bus_message_peek_type(message, &type, &contents) > 0) {
      const char* text = nullptr;
      if (type == 's' || type == 'o') {
        if (sd_bus_message_read_basic(message, type, &text) < 0) return;
        all += std::string(" ") + text;
      } else if (contents) {
        if (sd_bus_message_enter_container(message, type, contents) < 0) return;
        read_strings(message, all);
        sd_bus_message_exit_container(message);
      } else if (sd_bus_message_skip(message, std::string(1, type).c_str()) < 0) {
        return;
      }
    }
  }
  BusPtr bus_;
};

TEST_F(SystemBusTest, SignalsCarryWhatEverybodyMayKnow) {
  join();
  Eavesdropper ear(address_);
  bus_->event({.sequence = 1,
               .type = "failure",
               .service = "api",
               .text = "exception 01ab",
               .detail = "std::runtime_error: a secret"});
  core::FailureRow row;
  row.id = "01ab";
  row.service = "api";
  row.kind = "exception";
  row.fingerprint = "f00d";
  row.record = "{\"message\":\"a secret\"}";
  bus_->failure_recorded(row);
  bus_->message(17, "{\"a\":\"secret\"}");
  operations_.now.services[1].failures = 1;
  bus_->changed();
  ASSERT_TRUE(turn_until([&] { return ear.process(), ear.heard.size() >= 3; }));
  EXPECT_EQ(ear.heard[0], "Event failure api ");
  EXPECT_EQ(ear.heard[1], "FailureRecorded 01ab api exception f00d");
  EXPECT_EQ(ear.heard[2], "PropertiesChanged org.refork1.Service Failures");
}

TEST_F(SystemBusTest, ABusThatIsNotThereIsSaidOnceAndFoundWhenItComes) {
  listen(options());
  ASSERT_TRUE(turn_until([&] { return !said_.empty(); }));
  EXPECT_THAT(said_, ElementsAre(HasSubstr("trouble: the system bus cannot be reached")));
  EXPECT_TRUE(ask([](ctl::Client& client) { return client.status(); })) << "the private socket serves";
  start_daemon();
  ASSERT_TRUE(turn_until([&] { return said_.size() > 1; }));
  EXPECT_EQ(said_[1], "fine: has the name org.refork1 on the system bus");
}

TEST_F(SystemBusTest, ABusThatIsStartedAgainIsJoinedAgain) {
  join();
  EXPECT_EQ(call(stranger, "", "Why s api").first, 1) << "no such service, but an answer";
  end_daemon();
  ASSERT_TRUE(turn_until([&] { return said_.size() > 1; }));
  EXPECT_THAT(said_[1], HasSubstr("trouble: "));
  start_daemon();
  ASSERT_TRUE(turn_until([&] { return said_.size() > 2; }));
  EXPECT_EQ(call(0, "", "Stop sb api true").first, 0);
  EXPECT_THAT(said_, SizeIs(3));
}

TEST_F(SystemBusTest, ABusThatIsStuckHoldsNobodyUp) {
  join();
  ::kill(daemon_, SIGSTOP);
  const core::Event event{.type = "worker-ready", .service = std::string(1000, 'x')};
  ASSERT_TRUE(turn_until([&] {
    for (int i = 0; i < 100; ++i) bus_->event(event);
    return said_.size() > 1;
  }));
  EXPECT_THAT(said_[1], HasSubstr("does not read"));
  EXPECT_TRUE(ask([](ctl::Client& client) { return client.status(); }));
  ::kill(daemon_, SIGCONT);
  ASSERT_TRUE(turn_until([&] { return said_.size() > 2; })) << "it is joined again";
}

TEST_F(SystemBusTest, ASecondReforkdGoesOnWithoutTheNameUntilItIsFree) {
  join();
  std::vector<std::string> heard;
  auto others = options();
  others.system_bus->say = [&](bool, const std::string& what) { heard.push_back(what); };
  FakeOperations other;
  auto second = Bus::listen(loop_, directory_ + "/second", other, others);
  ASSERT_TRUE(second);
  ASSERT_TRUE(turn_until([&] { return !heard.empty(); }));
  EXPECT_THAT(heard[0], HasSubstr("another one has the name org.refork1"));
  bus_.reset();
  ASSERT_TRUE(turn_until([&] { return heard.size() > 1; }));
  EXPECT_THAT(heard[1], HasSubstr("has the name"));
  second->reset();
}

TEST_F(SystemBusTest, OneThatMayNotHaveTheNameSaysWhy) {
  start_daemon();
  const int code = in_child([&] {
    if (::setgroups(0, nullptr) < 0 || ::setgid(stranger) < 0 || ::setuid(stranger) < 0) return 98;
    ::alarm(20);
    sd_event* loop = nullptr;
    sd_event_new(&loop);
    std::string said;
    auto mine = options();
    mine.system_bus->say = [&](bool, const std::string& what) { said = what; };
    const std::string place =
        std::filesystem::temp_directory_path() / ("refork-" + std::to_string(::getpid()));
    auto bus = Bus::listen(loop, place, operations_, mine);
    if (!bus) return 97;
    while (said.empty()) sd_event_run(loop, 5'000);
    bus->reset();
    return said.find("does not give us the name org.refork1") == std::string::npos ? 96 : 0;
  });
  EXPECT_EQ(code, 0);
}

TEST_F(SystemBusTest, MoreCallersThanAreKnownAreStillServed) {
  start_daemon();
  class LoneHost final : public Host {
   public:
    core::Operations& operations() override { return asked; }
    std::shared_ptr<const Snapshot> snapshot() override {
      return std::make_shared<const Snapshot>(two_services());
    }
    const AccessPolicy& policy() const override { return access; }
    const Limits& limits() const override { return bounds; }
    FakeOperations asked;
    AccessPolicy access;
    Limits bounds;
  } host;
  BusLimits limits;
  limits.callers = 2;
  bool joined = false;
  SystemBus bus(
      loop_, host, *options().system_bus, [&] { joined = true; }, limits);
  ASSERT_TRUE(turn_until([&] { return joined; }));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(call(0, "", "Stop sb api true").first, 0);
  EXPECT_THAT(host.asked.calls, SizeIs(3));
}

}  // namespace
}  // namespace refork::bus
