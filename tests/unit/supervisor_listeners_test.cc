// Listening sockets that somebody shuts down.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "supervisor/listeners.h"
#include "support/process.h"

namespace refork::supervisor {
namespace {

// Workers that do it as they start would be started without end, all draining.
TEST(Listeners, OneThatIsShutDownAgainAtOnceIsOpenedAgainOnlyAfterAPause) {
  Loop loop;
  os::FdStore store("");
  Handover handover({});
  std::uint64_t last = 0;
  Listeners listeners(
      loop, store, [&last] { return ++last; }, [](const auto&) { return false; });
  const auto shut_down = [&] { ASSERT_EQ(::shutdown(listeners.fds().at(0), SHUT_RDWR), 0); };
  std::vector<core::Time> reopened;
  const auto opened =
      listeners.open("web", {"tcp://127.0.0.1:0"}, true, {}, handover, [&](const std::string&) {
        reopened.push_back(core::Clock::now());
        reopened.size() == 1 ? shut_down() : loop.exit(0);
      });
  ASSERT_TRUE(opened) << opened.error().what;
  auto patience = loop.timer([&] { loop.exit(1); });
  Loop::arm(patience, core::Clock::now() + test::kProcessPatience);
  shut_down();
  EXPECT_EQ(loop.run(), 0);
  ASSERT_EQ(reopened.size(), 2u);
  EXPECT_GE(reopened[1] - reopened[0], Listeners::reopen_pause);
}

// epoll forgets a socket when the last who holds it closes it, and the workers hold it too.
TEST(Listeners, OneThatIsOpenedAgainIsNoLongerWatchedThoughItsWorkersHoldIt) {
  Loop loop;
  os::FdStore store("");
  Handover handover({});
  std::uint64_t last = 0;
  Listeners listeners(
      loop, store, [&last] { return ++last; }, [](const auto&) { return false; });
  const auto opened = listeners.open("web", {"tcp://127.0.0.1:0"}, true, {}, handover,
                                     [&](const std::string&) { loop.exit(0); });
  ASSERT_TRUE(opened) << opened.error().what;
  const base::UniqueFd held_by_a_worker(::dup(listeners.fds().at(0)));
  auto patience = loop.timer([&] { loop.exit(1); });
  Loop::arm(patience, core::Clock::now() + test::kProcessPatience);
  ASSERT_EQ(::shutdown(held_by_a_worker.get(), SHUT_RDWR), 0);
  EXPECT_EQ(loop.run(), 0);
  pollfd events{sd_event_get_fd(loop.get()), POLLIN, 0};
  EXPECT_EQ(::poll(&events, 1, 0), 0) << "the loop would be woken for what was closed";
}

}  // namespace
}  // namespace refork::supervisor
