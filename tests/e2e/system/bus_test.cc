// org.refork1 on the real system bus: who may do what, and what everybody hears.
#include <gmock/gmock.h>

#include "e2e/system/installed.h"

namespace refork::test {
namespace {

using testing::HasSubstr;
using testing::Not;

class SystemBus : public Installed {
 protected:
  void SetUp() override {
    Installed::SetUp();
    machine_.output({"useradd", "-m", "-G", "refork", "alice"});
    serve({{"web", web()}});
    EXPECT_EQ(http_get(kWeb, "/error?secret=1").status, 500);
    ASSERT_TRUE(wait_for_failures(1));
    ASSERT_TRUE(wait_until_settled());
  }

  Machine::Ran busctl(const std::string& user, std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "busctl");
    return machine_.as(user, std::move(arguments));
  }
  Machine::Ran call(const std::string& user, const std::string& object, const std::string& interface,
                    std::vector<std::string> method) const {
    std::vector<std::string> arguments = {"call", "org.refork1", object, interface};
    arguments.insert(arguments.end(), method.begin(), method.end());
    return busctl(user, arguments);
  }
};

constexpr const char* kRoot = "/org/refork1";
constexpr const char* kManager = "org.refork1.Manager";
constexpr const char* kWebObject = "/org/refork1/service/web";

TEST_F(SystemBus, EverybodyReadsTheStatus) {
  for (const char* user : {"root", "alice", "nobody"}) {
    const auto state =
        busctl(user, {"get-property", "org.refork1", kWebObject, "org.refork1.Service", "State"});
    EXPECT_EQ(state.out, "s \"running\"\n") << user << state.err;
    EXPECT_THAT(busctl(user, {"tree", "org.refork1"}).out, HasSubstr("/org/refork1/service/web")) << user;
    const auto shown = busctl(user, {"introspect", "org.refork1", kRoot});
    EXPECT_THAT(shown.out, HasSubstr("FailureRecorded")) << user << shown.err;
  }
}

TEST_F(SystemBus, FailuresAreForThoseWhoOperate) {
  for (const char* user : {"root", "alice"}) {
    const auto listed = call(user, kRoot, kManager, {"ListFailures", "a{sv}", "0"});
    EXPECT_THAT(listed.out, HasSubstr("GET /error")) << user << listed.err;
  }
  const auto refused = call("nobody", kRoot, kManager, {"ListFailures", "a{sv}", "0"});
  EXPECT_NE(refused.code, 0);
  EXPECT_THAT(refused.out, Not(HasSubstr("GET /error")));
  EXPECT_THAT(refused.err, HasSubstr("denied"));
}

TEST_F(SystemBus, ServicesAreOperatedByRootAndTheGroupAlone) {
  const auto before = pids();
  const auto refused = call("nobody", kWebObject, "org.refork1.Service", {"Reload", "b", "true"});
  EXPECT_NE(refused.code, 0);
  EXPECT_EQ(pids(), before);
  const auto reloaded = call("alice", kWebObject, "org.refork1.Service", {"Reload", "b", "true"});
  EXPECT_EQ(reloaded.code, 0) << reloaded.err;
  EXPECT_EQ(service()["generation"], 2);
  EXPECT_NE(call("alice", kRoot, kManager, {"ClearFailures", "s", ""}).code, 0);
  EXPECT_EQ(call("root", kRoot, kManager, {"ClearFailures", "s", ""}).code, 0);
}

TEST_F(SystemBus, EverybodyHearsOfAFailureButNotWhatItSays) {
  Process monitor = machine_.start({"runuser", "-u", "nobody", "--", "stdbuf", "-oL", "dbus-monitor",
                                    "--system", "type='signal',sender='org.refork1'"});
  ASSERT_TRUE(monitor.wait_for_line("NameAcquired"));
  EXPECT_EQ(http_get(kWeb, "/error?secret=2").status, 500);
  ASSERT_TRUE(monitor.wait_for_line("member=FailureRecorded")) << monitor.output() << monitor.errors();
  ASSERT_TRUE(monitor.wait_for_line("exception"));
  ASSERT_TRUE(wait_until_settled());
  EXPECT_THAT(monitor.output(), Not(HasSubstr("/error")));
  EXPECT_THAT(monitor.output(), Not(HasSubstr("secret")));
}

TEST_F(SystemBus, ThatIsStartedAgainIsFoundAgain) {
  machine_.output({"systemctl", "restart", "dbus"});
  EXPECT_TRUE(wait_until([&] {
    return busctl("nobody", {"get-property", "org.refork1", kWebObject, "org.refork1.Service", "State"})
               .code == 0;
  }));
  EXPECT_EQ(http_get(kWeb, "/").status, 200);
}

}  // namespace
}  // namespace refork::test
