// The store across processes: killed, closed, beside another one.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "unit/store_support.h"

namespace refork::store::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A process that runs `body`, says so once it is through, and then stays until it is killed.
class Child {
 public:
  explicit Child(const std::function<bool()>& body) {
    int ends[2];
    if (::pipe(ends) != 0) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      const char done = body() ? 'y' : 'n';
      if (::write(ends[1], &done, 1) == 1) ::pause();
      ::_exit(1);
    }
    ::close(ends[1]);
    char done = 'n';
    ready_ = ::read(ends[0], &done, 1) == 1 && done == 'y';
    ::close(ends[0]);
  }
  ~Child() { kill(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  bool ready() const { return ready_; }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
  bool ready_ = false;
};

TEST(StoreProcess, WhatWasToldStoredSurvivesAKillOfTheProcess) {
  const TempDir dir;
  Child child([&] {
    static Loop* loop = new Loop(dir.state());  // never closed
    loop->store().reserve_worker_ids(64);
    return loop->end(end_of(7)) && loop->add(failure("a1", 7));
  });
  ASSERT_TRUE(child.ready());
  child.kill();
  Loop loop(dir.state());
  EXPECT_EQ(loop->status().state, "ok") << loop->status().why;
  EXPECT_EQ(loop.list().at(0).at("drain").at("outcome"), "clean");
  EXPECT_EQ(loop->last_worker_id(), 64u);
}

TEST(StoreProcess, ASecondProcessIsToldThatTheFileIsTakenAndGoesOnWhenItIsFree) {
  const TempDir dir;
  Child child([&] {
    static Loop* loop = new Loop(dir.state());
    return loop->add(failure("a1"));
  });
  ASSERT_TRUE(child.ready());
  Loop loop(dir.state());
  EXPECT_EQ(loop->status().state, "degraded");
  EXPECT_THAT(loop->status().why, HasSubstr("locked"));
  loop->add(failure("b1"), nullptr);
  EXPECT_THAT(loop.ids(), ElementsAre("b1"));
  child.kill();
  ASSERT_TRUE(loop.until([&] { return loop->status().waiting == 0; }));
  EXPECT_THAT(loop.ids(), ElementsAre("b1", "a1"));
}

// Whoever opens it has workers to look after.
TEST(StoreProcess, OnlyWhoAsksForTheLastIdWaitsUntilTheFileIsOpen) {
  const TempDir dir;
  Child child([&] {
    static Loop* loop = new Loop(dir.state());
    return loop->add(failure("a1"));
  });
  ASSERT_TRUE(child.ready());
  const auto store = open_store(dir.state(), {}, Loop::quick);
  EXPECT_EQ(store->status().state, "ok") << "it has been waited for the file, which is locked";
  EXPECT_GT(store->last_worker_id(), 0U);
  EXPECT_EQ(store->status().state, "degraded");
}

TEST(StoreProcess, CloseWritesWhatIsQueuedAndItsCallsCanStillBeDispatched) {
  const TempDir dir;
  std::vector<int> stored;
  {
    Loop loop(dir.state());
    for (int i = 0; i < 500; ++i)
      loop->add(failure("a" + std::to_string(i)), [&stored, i] { stored.push_back(i); });
    loop->close();
    loop->dispatch();
  }
  ASSERT_EQ(stored.size(), 500u);
  EXPECT_TRUE(std::is_sorted(stored.begin(), stored.end()));
  Loop again(dir.state());
  EXPECT_EQ(again.ids({"", "", {}, 1000}).size(), 500u);
}

TEST(StoreProcess, AfterCloseQuestionsAreAnsweredWithAnErrorAndRowsAreDropped) {
  const TempDir dir;
  Loop loop(dir.state());
  loop->close();
  loop->close();
  const auto shown = loop.show("a1");
  ASSERT_FALSE(shown.ok());
  EXPECT_EQ(shown.error().code, ESHUTDOWN);
  bool stored = false;
  loop->add(failure("a1"), [&] { stored = true; });
  loop->dispatch();
  EXPECT_FALSE(stored);
  EXPECT_EQ(loop->status().dropped, 1u);
}

TEST(StoreProcess, CloseOfADegradedStoreTriesOnceMoreAndIsNotHeldUp) {
  const TempDir dir;
  std::ofstream(dir.state()) << "";
  Tuning never = Loop::quick;
  never.retry = std::chrono::hours(1);
  Loop loop(dir.state(), {}, never);
  bool stored = false;
  loop->add(failure("a1"), [&] { stored = true; });
  loop.list();
  fs::remove(dir.state());
  loop->close();
  loop->dispatch();
  EXPECT_TRUE(stored);
}

TEST(StoreProcess, CloseLeavesAThreadThatIsHeldUpBehindAndAnswersForIt) {
  const TempDir dir;
  Child holder([&] {
    static Loop* loop = new Loop(dir.state());
    return loop->add(failure("a1"));
  });
  ASSERT_TRUE(holder.ready());
  Tuning impatient = Loop::quick;
  impatient.patience = std::chrono::milliseconds(0);
  Loop loop(dir.state(), {}, impatient);
  std::optional<bool> answered;
  loop->add(failure("b1"), nullptr);  // the thread now waits for the lock
  loop->list({}, [&](const auto& result) { answered = result.ok(); });
  loop->close();
  EXPECT_TRUE(loop.until([&] { return answered.has_value(); }));
}

// The count of times that the kernel has put a thread of this process to sleep until something happened.
std::int64_t wakeups_of_the_stores_thread() {
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::ifstream status(task.path() / "status");
    std::string line, name;
    for (std::int64_t count = -1; std::getline(status, line);) {
      if (line.rfind("Name:", 0) == 0) name = line;
      if (line.rfind("voluntary_ctxt_switches:", 0) == 0) count = std::stoll(line.substr(24));
      if (count >= 0 && name.find("refork-store") != std::string::npos) return count;
    }
  }
  return -1;
}

TEST(StoreProcess, NothingWakesTheThreadWhileNothingWaits) {
  const TempDir dir;
  Tuning busy = Loop::quick;
  busy.retry = std::chrono::milliseconds(1);
  Loop loop(dir.state(), {}, busy);
  ASSERT_TRUE(loop.add(failure("a1")));
  ASSERT_TRUE(loop.until([&] { return loop->status().waiting == 0; }));
  // A hundred retry times pass while this thread waits for an event that must not come.
  std::int64_t before = -1;
  for (std::int64_t now = wakeups_of_the_stores_thread(); now != before; now = wakeups_of_the_stores_thread())
    before = now;
  ASSERT_GT(before, 0);
  pollfd wait{loop->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&wait, 1, 100), 0);
  EXPECT_LE(wakeups_of_the_stores_thread(), before + 1);
}

TEST(StoreProcess, CallsAreMadeOnTheThreadThatDispatches) {
  const TempDir dir;
  Loop loop(dir.state());
  const pthread_t here = ::pthread_self();
  std::vector<bool> on_this_thread;
  loop->add(failure("a1"), [&] { on_this_thread.push_back(::pthread_equal(::pthread_self(), here) != 0); });
  loop->list({},
             [&](const auto&) { on_this_thread.push_back(::pthread_equal(::pthread_self(), here) != 0); });
  ASSERT_TRUE(loop.until([&] { return on_this_thread.size() == 2; }));
  EXPECT_THAT(on_this_thread, Each(true));
}

TEST(StoreProcess, WhatADroppedCallHeldIsDestroyedOnTheThreadThatDispatches) {
  const TempDir dir;
  std::ofstream(dir.state()) << "";
  struct Held {
    bool* destroyed_here;
    pthread_t here = ::pthread_self();
    ~Held() { *destroyed_here = ::pthread_equal(::pthread_self(), here) != 0; }
  };
  bool destroyed_here = false;
  Loop loop(dir.state());
  loop->add(failure("oldest"), [held = std::make_shared<Held>(Held{&destroyed_here})] {});
  destroyed_here = false;
  for (std::size_t i = 0; i < Store::max_waiting; ++i) {
    loop->add(failure("a" + std::to_string(i)), nullptr);
    if (i % 1000 == 0) loop.list({"", "", {}, 1});
  }
  loop.list({"", "", {}, 1});
  EXPECT_EQ(loop->status().dropped, 1u);
  EXPECT_TRUE(loop.until([&] { return destroyed_here; }));
}

}  // namespace
}  // namespace refork::store::testing
