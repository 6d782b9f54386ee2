// What is stored under which name, and what the next reforkd finds there.
#include "supervisor/handover.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/notify.h"
#include "os/process.h"
#include "os/spawn.h"
#include "supervisor/keeper_watch.h"

namespace refork::supervisor {
namespace {

using testing::ElementsAre;

base::UniqueFd memory() { return base::UniqueFd(::memfd_create("test", MFD_CLOEXEC)); }

Handover handover_of(const std::vector<std::string>& names) {
  std::vector<os::InheritedFd> fds;
  for (const auto& name : names) fds.push_back({name, memory()});
  return Handover(std::move(fds));
}

TEST(HandoverNames, AreReadAsTheyWereMade) {
  EXPECT_EQ(worker_fd("web", 3, 17, pidfd_word), "web.3.17.pidfd");
  EXPECT_EQ(notify_fd("web"), "web.notify");
  const auto key = parse_worker_fd("a.b.3.17.pidfd", pidfd_word);
  ASSERT_TRUE(key);
  EXPECT_EQ(key->service, "a.b");
  EXPECT_EQ(key->slot, 3u);
  EXPECT_EQ(key->worker, 17u);
  for (const char* name : {"", "pidfd", "web.pidfd", "web.3.pidfd", ".3.17.pidfd", "web.3.0.pidfd",
                           "web.x.17.pidfd", "web.3.17x.pidfd", "web.3.17.channel", "web.-3.17.pidfd",
                           "web.4294967296.17.pidfd", "web.3.18446744073709551616.pidfd", "web.3.17.pidfd."})
    EXPECT_FALSE(parse_worker_fd(name, pidfd_word)) << name;
}

TEST(Handover, FindsTheWorkersOfAServiceInTheirOrderAndTheHighestNumbers) {
  auto handover =
      handover_of({"web.0.20.recorder", "web.1.3.recorder", "api.0.7.recorder", "web.listen.9", "state",
                   "web.1.3.pidfd", "web.0.21.channel", "api.listen.12", "web.listen.x"});
  std::vector<core::WorkerId> ids;
  for (const auto& key : handover.workers("web", recorder_word)) ids.push_back(key.worker);
  EXPECT_THAT(ids, ElementsAre(3, 20));
  EXPECT_EQ(handover.highest_worker(), 21u);
  EXPECT_EQ(handover.highest_listener(), 12u);
}

TEST(Handover, WhatIsTakenStaysInTheStoreAndWhatNobodyWantsLeavesIt) {
  auto manager = *os::NotifySocket::open_abstract();
  os::FdStore store{manager.name()};
  auto handover = handover_of({"taken", "left", "twice", "twice"});
  EXPECT_TRUE(handover.take("taken", store));
  EXPECT_TRUE(handover.take("twice", store));
  EXPECT_FALSE(handover.take("twice", store)) << "the same was stored twice";
  EXPECT_FALSE(handover.take("missing", store));
  EXPECT_THAT(handover.drop(store), ElementsAre("left"));
  EXPECT_TRUE(handover.empty());
  EXPECT_TRUE(store.kept().contains("taken"));
  EXPECT_FALSE(store.kept().contains("left"));
  const auto said = manager.receive();
  ASSERT_TRUE(said);
  EXPECT_EQ(said->fields.at("FDNAME"), "left");
  EXPECT_EQ(said->fields.at("FDSTOREREMOVE"), "1");
}

TEST(Handover, TheBestIsTheOneThatSuitsMost) {
  auto handover = handover_of({"web.listen.1", "web.listen.2", "api.listen.3"});
  int asked = 0;
  EXPECT_EQ(handover.best("web.listen.", [&asked](int) { return ++asked; }), "web.listen.2");
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(handover.best("web.listen.", [](int) { return 0; }), "");
}

TEST(HandoverNames, TellListenersFromOthers) {
  EXPECT_TRUE(is_listener_fd("web.listen.12"));
  EXPECT_TRUE(is_listener_fd("a.b.listen.1"));
  for (const char* name : {"web", "web.listen.", "web.listen.x", "web.0.12.pidfd", "listen.1", "state"})
    EXPECT_FALSE(is_listener_fd(name)) << name;
}

TEST(Handover, OfSeveralOfOneNameTheBestIsTakenAndWhatIsHadIsNotMissed) {
  std::vector<os::InheritedFd> fds;
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const base::UniqueFd had(ends[0]);
  const int wanted = ends[1];
  fds.push_back({"web", base::UniqueFd(::fcntl(had.get(), F_DUPFD_CLOEXEC, 3))});
  fds.push_back({"web", base::UniqueFd(wanted)});
  fds.push_back({"web", memory()});
  const auto stored = memory();
  fds.push_back({"web.listen.1", base::UniqueFd(::fcntl(stored.get(), F_DUPFD_CLOEXEC, 3))});
  Handover handover(std::move(fds));
  os::FdStore store{""};
  EXPECT_TRUE(handover.is_given(had.get()));
  EXPECT_FALSE(handover.is_given(stored.get())) << "an earlier reforkd opened it";
  EXPECT_FALSE(handover.take_given("web", [](int) { return 0; }));
  const auto taken = handover.take_given("web", [wanted](int fd) { return fd == wanted ? 2 : 1; });
  EXPECT_EQ(taken.get(), wanted);
  EXPECT_TRUE(store.kept().empty()) << "what a manager gives is not in the store";
  EXPECT_THAT(handover.drop(store, {had.get(), stored.get()}), ElementsAre("web")) << "the memory alone";
}

TEST(KeeperWatch, WhatHadNoPlaceIsSentWithoutFurtherAdo) {
  auto manager = *os::NotifySocket::open_abstract();
  os::FdStore store{manager.name()};
  Loop loop;
  KeeperWatch watch(loop, store, {}, [](pid_t) {});
  const auto fd = memory();
  std::size_t sent = 0, received = 0;
  while (!store.pending()) store.keep("fd" + std::to_string(sent++), fd.get());
  const auto reader = loop.watch(manager.fd(), EPOLLIN, [&](std::uint32_t) {
    while (manager.receive()) ++received;
    if (received == sent) loop.exit(0);
  });
  auto deadline = loop.timer([&loop] { loop.exit(1); });
  Loop::arm(deadline, core::Clock::now() + std::chrono::seconds(10));
  EXPECT_EQ(loop.run(), 0);
  EXPECT_FALSE(store.pending());
}

TEST(Gate, WhoWaitsThereHasNotExecutedAndWhoWentThroughHas) {
  os::SpawnPlan plan;
  plan.program = "/bin/sleep";
  plan.argv = {"sleep", "60"};
  plan.gated = true;
  auto child = os::spawn(plan);
  ASSERT_TRUE(child);
  EXPECT_FALSE(os::has_executed(child->pid));
  os::let_run(*child);
  EXPECT_FALSE(os::read_spawn_failure(child->errors.get()));  // end of file: it has executed
  EXPECT_TRUE(os::has_executed(child->pid));
  os::signal_process(child->pidfd.get(), SIGKILL);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PIDFD, static_cast<id_t>(child->pidfd.get()), &info, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(os::has_executed(child->pid)) << "also after its end";
  os::reap(child->pidfd.get());
  EXPECT_FALSE(os::has_executed(child->pid));
}

}  // namespace
}  // namespace refork::supervisor
