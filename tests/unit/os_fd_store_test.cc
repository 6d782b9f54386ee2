// The descriptor store's protocol, against a socket that plays the manager, and the log of exits.
#include "os/fd_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <set>
#include <thread>

#include "os/exit_log.h"
#include "os/notify.h"
#include "os/spawn.h"

namespace refork::os {
namespace {

using testing::ElementsAre;
using testing::Pair;

base::UniqueFd memory() { return base::UniqueFd(::memfd_create("test", MFD_CLOEXEC)); }

ino_t inode(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

class FdStoreTest : public testing::Test {
 protected:
  NotifySocket manager = *NotifySocket::open_abstract();
  FdStore store{manager.name()};
};

TEST_F(FdStoreTest, SpeaksAsSystemdUnderstands) {
  const auto fd = memory();
  store.keep("web.3.17.pidfd", fd.get());
  auto said = manager.receive();
  ASSERT_TRUE(said);
  EXPECT_EQ(said->pid, ::getpid());
  EXPECT_THAT(said->fields,
              ElementsAre(Pair("FDNAME", "web.3.17.pidfd"), Pair("FDPOLL", "0"), Pair("FDSTORE", "1")));
  ASSERT_EQ(said->fds.size(), 1u);
  EXPECT_EQ(inode(said->fds[0].get()), inode(fd.get()));
  store.forget("web.3.17.pidfd");
  said = manager.receive();
  ASSERT_TRUE(said);
  EXPECT_THAT(said->fields, ElementsAre(Pair("FDNAME", "web.3.17.pidfd"), Pair("FDSTOREREMOVE", "1")));
  EXPECT_TRUE(said->fds.empty());
  store.forget("web.3.17.pidfd");
  EXPECT_FALSE(manager.receive()) << "it is not there any more";
}

TEST_F(FdStoreTest, RefusesNamesThatSystemdWould) {
  EXPECT_TRUE(is_fd_name(std::string(max_fd_name, 'x')));
  for (const std::string& name : {std::string(), std::string("a:b"), std::string("a\nb"),
                                  std::string("\xc3\xa4"), std::string(max_fd_name + 1, 'x')}) {
    EXPECT_FALSE(is_fd_name(name));
    store.keep(name, 0);
  }
  EXPECT_TRUE(store.kept().empty());
}

TEST_F(FdStoreTest, AnotherKeeperGetsEverything) {
  const auto one = memory(), two = memory();
  store.keep("one", one.get());
  store.keep("two", two.get());
  auto next = NotifySocket::make_pair();
  ASSERT_TRUE(next);
  store.move_to(std::move(next->sender));
  for (const auto* fd : {&one, &two}) {
    const auto said = next->socket.receive();
    ASSERT_TRUE(said && said->fds.size() == 1);
    EXPECT_EQ(inode(said->fds[0].get()), inode(fd->get()));
  }
}

// Sends until nothing more has a place, and then reads all.
void fill_and_read(FdStore& store, NotifySocket& manager) {
  const auto fd = memory();
  int sent = 0;
  while (!store.pending() && sent < 10000) store.keep("fd" + std::to_string(sent++), fd.get());
  ASSERT_TRUE(store.pending());
  store.keep("last", fd.get());
  int received = 0;
  std::string name;
  while (store.pending() || name != "last") {
    auto said = manager.receive();
    if (!said) {
      store.flush();
      continue;
    }
    name = said->fields["FDNAME"];
    ++received;
  }
  EXPECT_EQ(received, sent + 1);
}

TEST_F(FdStoreTest, WhatHasNoPlaceIsSentLaterInOrder) { fill_and_read(store, manager); }

// A manager that does not read for long: nothing is lost, and what waits does not grow without end.
TEST_F(FdStoreTest, WhatWaitsBecomesWhatIsToBeTrueInTheEnd) {
  const auto fd = memory();
  std::size_t fillers = 0;
  store.keep("early", fd.get());
  while (!store.pending()) store.keep("filler" + std::to_string(fillers++), fd.get());
  store.forget("early");
  store.keep("stays", fd.get());
  store.say("STATUS=old");
  for (std::size_t i = 0; i < FdStore::many_pending; ++i) {
    store.keep("worker" + std::to_string(i), fd.get());
    store.forget("worker" + std::to_string(i));
  }
  store.say("STATUS=new");
  store.forget("stays");
  store.keep("stays", fd.get());
  std::map<std::string, int> stored;
  std::string status;
  std::size_t received = 0;
  for (bool more = true; more;) {
    store.flush();
    more = store.pending();
    for (; auto said = manager.receive(); ++received) {
      const auto name = said->fields["FDNAME"];
      if (said->fields.contains("STATUS")) status = said->fields["STATUS"];
      if (said->fields.contains("FDSTORE")) ++stored[name];
      if (said->fields.contains("FDSTOREREMOVE")) stored.erase(name);
    }
  }
  EXPECT_LT(received, FdStore::many_pending) << "of twice as many that were said";
  EXPECT_FALSE(stored.contains("early"));
  EXPECT_EQ(stored["stays"], 1);
  EXPECT_EQ(status, "new");
  EXPECT_EQ(stored.size(), fillers + 1) << "and nothing of the workers that came and went";
}

// More descriptors than fit into what waits.
TEST_F(FdStoreTest, ManyThatStayAreAllSentHoweverLongTheyWait) {
  const auto fd = memory();
  const std::size_t count = FdStore::many_pending + 100;
  for (std::size_t i = 0; i < count; ++i) store.keep("fd" + std::to_string(i), fd.get());
  std::set<std::string> stored;
  for (bool more = true; more;) {
    store.flush();
    more = store.pending();
    while (auto said = manager.receive()) stored.insert(said->fields["FDNAME"]);
  }
  EXPECT_EQ(stored.size(), count);
}

TEST_F(FdStoreTest, AtTheEndItWaitsForWhatIsToBeSentButNotForEver) {
  while (!store.pending()) store.say("STATUS=filler");
  store.say("STATUS=last");
  store.finish(std::chrono::milliseconds(1));
  EXPECT_TRUE(store.pending()) << "nobody reads";
  std::string status;
  std::thread reader([&] {
    while (status != "last")
      if (auto said = manager.receive()) status = said->fields["STATUS"];
  });
  store.finish(std::chrono::minutes(1));
  EXPECT_FALSE(store.pending());
  reader.join();
}

TEST(FdStoreOfAPair, SpeaksThroughItAloneAndWhatHasNoPlaceIsSentLaterInOrder) {
  auto pair = NotifySocket::make_pair();
  ASSERT_TRUE(pair);
  const int sender = pair->sender.get();
  FdStore store(std::move(pair->sender));
  EXPECT_EQ(store.sender(), sender);
  EXPECT_EQ(FdStore("@somewhere").sender(), -1);
  const auto fd = memory();
  store.keep("one", fd.get());
  const auto said = pair->socket.receive();
  ASSERT_TRUE(said && said->fds.size() == 1);
  EXPECT_EQ(inode(said->fds[0].get()), inode(fd.get()));
  fill_and_read(store, pair->socket);
  // Where the other end is gone nothing waits for it.
  pair->socket = {};
  store.keep("two", fd.get());
  EXPECT_FALSE(store.pending());
  EXPECT_TRUE(store.kept().contains("two"));
}

TEST(FdStoreAlone, RemembersWithoutAnybody) {
  FdStore store{""};
  const auto fd = memory();
  store.keep("one", fd.get());
  EXPECT_EQ(store.kept().at("one"), fd.get());
  store.forget("one");
  EXPECT_TRUE(store.kept().empty());
}

TEST(Exits, AreFoundByPidAndStartTimeUntilTheyAreTooOld) {
  auto log = ExitLog::create();
  ASSERT_TRUE(log);
  auto reader = ExitLog::adopt(base::UniqueFd(::fcntl(log->fd(), F_DUPFD_CLOEXEC, 3)));
  ASSERT_TRUE(reader);
  log->add(7, 100, {.code = 42, .signal = {}, .core = false});
  log->add(7, 200, {.code = {}, .signal = 11, .core = true});
  EXPECT_EQ(reader->find(7, 100)->code, 42);
  EXPECT_EQ(reader->find(7, 200)->signal, 11);
  EXPECT_TRUE(reader->find(7, 200)->core);
  EXPECT_FALSE(reader->find(7, 300));
  for (std::uint64_t i = 0; i + 1 < ExitLog::capacity; ++i)
    log->add(8, i, {.code = 0, .signal = {}, .core = false});
  EXPECT_FALSE(reader->find(7, 100)) << "one too many";
  EXPECT_TRUE(reader->find(7, 200)) << "the oldest that has a place";
  EXPECT_FALSE(ExitLog::adopt(memory()));
}

TEST(Gate, AProgramWaitsUntilItMayRunAndEndsWithoutAnybodyWhoKnowsOfIt) {
  SpawnPlan plan;
  plan.program = "/bin/true";
  plan.argv = {"true"};
  plan.gated = true;
  auto runs = spawn(plan);
  ASSERT_TRUE(runs);
  EXPECT_FALSE(has_ended(runs->pidfd.get()));
  let_run(*runs);
  EXPECT_FALSE(read_spawn_failure(runs->errors.get()));
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PIDFD, static_cast<id_t>(runs->pidfd.get()), &info, WEXITED), 0);
  EXPECT_EQ(info.si_status, 0);

  auto stays = spawn(plan);
  ASSERT_TRUE(stays);
  stays->gate.reset();  // as the death of this process would
  ASSERT_EQ(::waitid(P_PIDFD, static_cast<id_t>(stays->pidfd.get()), &info, WEXITED), 0);
  EXPECT_EQ(info.si_status, exit_not_executed);
}

}  // namespace
}  // namespace refork::os
