// What a service manager is told, and when.
#include "supervisor/manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "os/notify.h"

namespace refork::supervisor {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;

class ManagerTest : public testing::Test {
 protected:
  void SetUp() override {
    reader_ = loop.watch(socket.fd(), EPOLLIN, [this](std::uint32_t) { read(); });
    deadline_ = loop.timer([this] { loop.exit(1); });
    Loop::arm(deadline_, core::Clock::now() + seconds(20));
  }
  void read() {
    while (auto one = socket.receive())
      for (const auto& [word, value] : one->fields) said.push_back(word + "=" + value);
    if (enough && enough()) loop.exit(0);
  }
  void read_until(std::function<bool()> predicate) {
    enough = std::move(predicate);
    EXPECT_EQ(loop.run(), 0);
  }

  os::NotifySocket socket = *os::NotifySocket::open_abstract();
  os::FdStore store{socket.name()};
  Loop loop;
  std::vector<std::string> said;
  std::string status = "fine";
  std::function<bool()> enough;
  Loop::Source reader_, deadline_;
};

TEST_F(ManagerTest, AStartIsProlongedUntilItIsUpAndToldOnce) {
  Manager manager(loop, store, {{}, [this] { return status; }});
  manager.starting(core::Clock::now() + seconds(60));
  manager.up();
  manager.up();
  read();
  EXPECT_THAT(said, ElementsAre("EXTEND_TIMEOUT_USEC=20000000", "STATUS=fine", "READY=1"));
}

TEST_F(ManagerTest, AStartThatTakesLongerThanItMayIsUpAllTheSame) {
  Manager manager(loop, store, {{}, [this] { return status; }});
  manager.starting(core::Clock::now() + core::Millis(50));
  read_until([this] { return !said.empty() && said.back() == "READY=1"; });
}

TEST_F(ManagerTest, AStopIsProlongedAndIsNoStart) {
  Manager manager(loop, store, {{}, [this] { return status; }});
  manager.stopping(core::Clock::now() + core::Millis(50));
  manager.up();
  read();
  EXPECT_THAT(said, ElementsAre("STOPPING=1", "EXTEND_TIMEOUT_USEC=20000000"));
}

TEST_F(ManagerTest, TheStatusIsToldWhenItHasChangedAndManyChangesAtOnceAreOne) {
  Manager manager(loop, store, {{}, [this] { return status; }});
  manager.status_changed();
  bool changed = false;
  read_until([&] {
    if (!std::exchange(changed, true))
      for (const char* next : {"worse", "worst", "better"}) {
        status = next;
        manager.status_changed();
      }
    return said.size() == 2;
  });
  EXPECT_THAT(said, ElementsAre("STATUS=fine", "STATUS=better"));
}

TEST_F(ManagerTest, AStatusThatIsWhatItWasIsNotToldAgain) {
  Manager manager(loop, store, {{}, [this] { return status; }});
  manager.up();
  manager.status_changed();
  bool came = false;
  auto later = loop.timer([&] { came = true, loop.exit(0); });
  Loop::arm(later, core::Clock::now() + Manager::status_interval + core::Millis(1));
  EXPECT_EQ(loop.run(), 0);
  read();
  EXPECT_TRUE(came);
  EXPECT_THAT(said, ElementsAre("STATUS=fine", "READY=1"));
}

TEST_F(ManagerTest, ItBeatsTwiceInTheTimeOfItsWatchdog) {
  const auto began = core::Clock::now();
  const core::Millis watchdog{100};
  Manager manager(loop, store, {watchdog, [this] { return status; }});
  read_until([this] { return said.size() == 5; });
  EXPECT_THAT(said, testing::Each("WATCHDOG=1"));
  EXPECT_GE(core::Clock::now() - began, 4 * watchdog / 2) << "and not without pause";
}

TEST(WatchdogOfTheManager, IsForThisProcessOrForItsKeeper) {
  const auto with = [](const char* time, const std::string& pid) {
    time ? ::setenv("WATCHDOG_USEC", time, 1) : ::unsetenv("WATCHDOG_USEC");
    pid.empty() ? ::unsetenv("WATCHDOG_PID") : ::setenv("WATCHDOG_PID", pid.c_str(), 1);
    return watchdog_of_manager(7);
  };
  const auto own = std::to_string(::getpid());
  EXPECT_EQ(with("20000000", ""), core::Millis(20000));
  EXPECT_EQ(with("20000000", own), core::Millis(20000));
  EXPECT_EQ(with("20000000", "7"), core::Millis(20000));
  EXPECT_EQ(with("20000000", "1"), std::nullopt);
  EXPECT_EQ(with(nullptr, own), std::nullopt);
  EXPECT_EQ(with("0", own), std::nullopt);
  EXPECT_EQ(with("soon", own), std::nullopt);
  EXPECT_EQ(with("1", own), core::Millis(1));
  EXPECT_EQ(with("86400000000", own), std::chrono::hours(24));
  EXPECT_EQ(with("86400000001", own), std::nullopt);
  ::unsetenv("WATCHDOG_USEC");
  ::unsetenv("WATCHDOG_PID");
}

}  // namespace
}  // namespace refork::supervisor
