// Threads, pools and futures: what they run belongs to the domain in which it was asked for, and no error of
// a job is lost or told twice.
#include "refork/threads.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdio>

#include "adapters/seen.h"

namespace refork::test {
namespace {

using testing::ElementsAre;

// Opened once by one thread, waited for by others.
class Gate {
 public:
  void open() { opened_.set_value(); }
  void wait() { is_open_.wait(); }

 private:
  std::promise<void> opened_;
  std::shared_future<void> is_open_ = opened_.get_future().share();
};

struct Threads : testing::Test {
  Watched a{"a"};
  Watched b{"b"};
};

TEST_F(Threads, AThreadRunsInTheDomainThatMadeIt) {
  std::string ran_in;
  std::thread thread;
  a.domain.run([&] {
    thread = refork::make_thread(
        [&](std::unique_ptr<int> passed) {
          ran_in = active() + std::to_string(*passed);
          fail_with("on a thread");
        },
        std::make_unique<int>(7));
  });
  thread.join();
  EXPECT_EQ(ran_in, "a7");
  ASSERT_EQ(a.messages(), std::vector<std::string>{"on a thread"});
  EXPECT_TRUE(is_thrown_plainly(a.last(), "a"));
  EXPECT_EQ(active(), "none");
}

TEST_F(Threads, AThreadCallsWhateverStdThreadCalls) {
  struct Counter {
    void add(int more) { value += more; }
    int value = 0;
  } counter;
  refork::make_thread(&Counter::add, &counter, 5).join();
  EXPECT_EQ(counter.value, 5);
}

TEST_F(Threads, AThreadKeepsItsDomainAliveAndItsEndLetsGo) {
  Gate gate;
  std::thread thread;
  a.domain.run([&] { thread = refork::make_thread([&] { gate.wait(); }); });
  a.let_go();
  EXPECT_TRUE(a.alive());
  gate.open();
  thread.join();
  EXPECT_FALSE(a.alive());
}

#ifdef __cpp_lib_jthread
TEST_F(Threads, AJthreadGetsItsStopTokenInTheDomainThatMadeIt) {
  a.domain.run([&] {
    std::jthread thread = refork::make_jthread(
        [](std::stop_token stop, const char* message) {
          std::promise<void> stopped;
          std::stop_callback on_stop(stop, [&] { stopped.set_value(); });
          stopped.get_future().wait();
          fail_with(message);
        },
        "stopped");
  });
  b.domain.run([&] { refork::make_jthread([](int) { fail_with("takes no token"); }, 1); });
  EXPECT_EQ(a.messages(), std::vector<std::string>{"stopped"});
  EXPECT_EQ(b.messages(), std::vector<std::string>{"takes no token"});
}
#endif

// D27
TEST(ThreadsDeathTest, WithoutAHandlerTheOuterDomainIsNotTried) {
  EXPECT_DEATH(
      {
        std::set_terminate([] {
          std::fputs("terminated", stderr);
          std::abort();
        });
        Domain outer("outer");
        outer.on_error([](const Failure&) { std::fputs("outer was told", stderr); });
        const Domain inner("inner");
        outer.run([&] { inner.run([] { refork::make_thread([] { fail_with("nobody's"); }).join(); }); });
      },
      "^terminated");
}

struct Futures : Threads {};

TEST_F(Futures, AsyncRunsInTheDomainThatAskedAndGivesTheResult) {
  for (const auto policy : {std::launch::async, std::launch::deferred}) {
    Future<std::string> future;
    a.domain.run([&] {
      future = refork::async(
          policy, [](int more) { return active() + std::to_string(more); }, 1);
    });
    b.domain.run([&] { EXPECT_EQ(future.get(), "a1"); });
    EXPECT_FALSE(future.valid());
  }
  EXPECT_THROW(Future<void>().get(), std::future_error);
}

// D3
TEST_F(Futures, AnErrorIsThrownWhereItIsFetchedAndNobodyElseIsTold) {
  for (const auto policy : {std::launch::async, std::launch::deferred}) {
    Future<int> future;
    a.domain.run([&] { future = refork::async(policy, []() -> int { fail_with("fetched"); }); });
    EXPECT_THROW(future.get(), std::runtime_error);
  }
  Future<int> future;
  a.domain.run([&] { future = refork::async([]() -> int { fail_with("fetched in b"); }); });
  b.domain.run([&] { future.get(); });
  EXPECT_EQ(a.count(), 0U);
  EXPECT_EQ(b.messages(), std::vector<std::string>{"fetched in b"});
}

// D40
TEST_F(Futures, AnErrorThatNobodyFetchedGoesOnceToTheDomainThatSubmitted) {
  a.domain.run([&] { refork::async([] { fail_with("dropped at once"); }); });
  {
    Future<void> future;
    b.domain.run([&] { future = refork::async([] { fail_with("dropped later"); }); });
    future.wait();
    EXPECT_EQ(b.count(), 0U) << "it may still be fetched";
  }
  EXPECT_EQ(a.messages(), std::vector<std::string>{"dropped at once"});
  EXPECT_EQ(b.messages(), std::vector<std::string>{"dropped later"});
  EXPECT_TRUE(is_thrown_plainly(a.last(), "a"));
}

// D39
TEST_F(Futures, AContinuationRunsInTheDomainWhereItWasAttached) {
  for (const auto policy : {std::launch::async, std::launch::deferred}) {
    Future<std::string> first;
    a.domain.run([&] { first = refork::async(policy, [] { return active(); }); });
    Future<std::string> second;
    b.domain.run(
        [&] { second = first.then([](std::string before) { return before + " then " + active(); }); });
    EXPECT_FALSE(first.valid());
    EXPECT_EQ(second.get(), "a then b");
  }
}

TEST_F(Futures, AContinuationOfWhatIsCompleteIsCalledAtOnce) {
  Future<int> future = refork::async([] { return 2; });
  future.wait();
  bool called = false;
  b.domain.run([&] { future.then([&](int two) { called = two == 2 && active() == "b"; }); });
  EXPECT_TRUE(called);
}

TEST_F(Futures, WhatAContinuationThrowsGoesToTheDomainWhereItWasAttached) {
  a.domain.run([&] {
    auto future = refork::async([] { return 1; });
    b.domain.run([&] { future.then([](int) { fail_with("continued"); }); });
  });
  EXPECT_EQ(a.count(), 0U);
  EXPECT_EQ(b.messages(), std::vector<std::string>{"continued"});
}

TEST_F(Futures, AnErrorPassesByContinuationsToWhoeverHasTheLastOfThem) {
  bool called = false;
  Future<void> last;
  a.domain.run([&] {
    auto future = refork::async([]() -> int { fail_with("at the beginning"); });
    b.domain.run([&] { last = future.then([&](int) { called = true; }).then([&] { called = true; }); });
  });
  EXPECT_THROW(last.get(), std::runtime_error);
  b.domain.run(
      [&] { refork::async([]() -> int { fail_with("told once"); }).then([&](int) { called = true; }); });
  EXPECT_FALSE(called);
  EXPECT_EQ(a.count(), 0U);
  EXPECT_EQ(b.messages(), std::vector<std::string>{"told once"});
}

TEST_F(Futures, ResultsMayBeMoveOnlyOrReferences) {
  EXPECT_EQ(*refork::async([] { return std::make_unique<int>(3); }).get(), 3);
  int value = 0;
  int& same = refork::async([&]() -> int& { return value; }).get();
  EXPECT_EQ(&same, &value);
  EXPECT_EQ(refork::async([](std::unique_ptr<int> four) { return *four; }, std::make_unique<int>(4)).get(),
            4);
}

TEST_F(Futures, ADeferredJobThatNobodyWaitsForIsNeverRunAsInTheStandard) {
  a.domain.run([&] { refork::async(std::launch::deferred, [] { fail_with("run"); }); });
  EXPECT_EQ(a.count(), 0U);
  a.let_go();
  EXPECT_FALSE(a.alive());
}

// D43
TEST_F(Futures, APendingFutureKeepsItsDomainAliveAndItsEndLetsGo) {
  Gate gate;
  Future<int> future;
  a.domain.run([&] {
    future = refork::async([&] {
      gate.wait();
      return 1;
    });
  });
  a.let_go();
  EXPECT_TRUE(a.alive());
  gate.open();
  EXPECT_EQ(future.get(), 1);
  EXPECT_FALSE(a.alive());
}

struct Pools : Threads {};

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which need room of their own
TEST(PoolsDeathTest, WhereTheSystemGivesNotAllThreadsTheConstructorThrows) {
  EXPECT_EXIT(
      {
        rlimit room{};  // for the stacks of some
        room.rlim_cur = room.rlim_max = 256UL << 20;
        setrlimit(RLIMIT_AS, &room);
        try {
          ThreadPool pool(1000);
        } catch (const std::system_error&) {
          std::_Exit(0);
        }
        std::_Exit(1);
      },
      testing::ExitedWithCode(0), "");
}
#endif

TEST_F(Pools, AJobRunsInTheDomainThatPostedItAndThrowsIntoIt) {
  ThreadPool pool(2);
  a.domain.run([&] { pool.post([] { fail_with("posted"); }); });
  std::string ran_in;
  b.domain.run([&] { ran_in = pool.submit([] { return active(); }).get(); });
  pool.join();
  EXPECT_EQ(ran_in, "b");
  ASSERT_EQ(a.messages(), std::vector<std::string>{"posted"});
  EXPECT_TRUE(is_thrown_plainly(a.last(), "a"));
}

TEST_F(Pools, TwoThreadsMayJoinItAtOnce) {
  ThreadPool pool(2);
  Gate gate;
  pool.post([&] { gate.wait(); });
  std::thread other([&] { pool.join(); });
  gate.open();
  pool.join();
  other.join();
  EXPECT_THROW(pool.post([] {}), Cancelled);
}

// D5, and the row of pool operations that each start the next and then throw.
TEST_F(Pools, AChainOfJobsThatEachStartTheNextAndThrowIsToldInOrder) {
  ThreadPool pool(1);
  a.domain.run([&] {
    pool.post([&] {
      pool.post([&] {
        pool.post([] { fail_with("third"); });
        fail_with("second");
      });
      fail_with("first");
    });
  });
  pool.join();
  EXPECT_THAT(a.messages(), ElementsAre("first", "second", "third"));
}

// D25
TEST_F(Pools, AfterAThrowTheThreadGoesOnOutsideOfThatDomain) {
  ThreadPool pool(1);
  std::vector<std::string> order;
  a.domain.run([&] { pool.post([] { fail_with("first"); }); });
  b.domain.run([&] { pool.post([&] { order.push_back(active()); }); });
  pool.post([&] { order.push_back(active()); });
  pool.join();
  EXPECT_THAT(order, ElementsAre("b", "pool"));
  EXPECT_EQ(a.count(), 1U);
}

// D39
TEST_F(Pools, AJobsContinuationRunsInTheDomainWhereItWasAttached) {
  ThreadPool pool(1);
  Gate gate;
  Future<int> future;
  a.domain.run([&] {
    future = pool.submit([&] {
      gate.wait();
      return 1;
    });
  });
  b.domain.run([&] { future.then([](int) { fail_with(active().c_str()); }); });
  gate.open();
  pool.join();
  EXPECT_EQ(a.count(), 0U);
  EXPECT_EQ(b.messages(), std::vector<std::string>{"b"});
}

// D40
TEST_F(Pools, JobsThatWereNeverRunAreToldWhenThePoolEnds) {
  auto pool = std::make_unique<ThreadPool>(1, 3);
  Gate started;
  Gate full;
  pool->post([&, running = pool.get()] {
    started.open();
    full.wait();
    try {  // the queue stays full until the pool is being ended
      while (!running->try_post([] {})) std::this_thread::yield();
    } catch (const Cancelled&) {
    }
  });
  started.wait();
  bool ran = false;
  Future<void> fetched;
  a.domain.run([&] {
    pool->post([&] { ran = true; });
    pool->submit([&] { ran = true; });
  });
  b.domain.run([&] { fetched = pool->submit([&] { ran = true; }); });
  full.open();
  pool.reset();
  EXPECT_FALSE(ran);
  ASSERT_EQ(a.count(), 2U);
  EXPECT_EQ(a.last().type, "refork::Cancelled");
  EXPECT_THROW(fetched.get(), Cancelled);
  EXPECT_EQ(b.count(), 0U);
}

TEST_F(Pools, AFullQueueRefusesOrWaitsAndNeverBlocksThePoolsOwnJobs) {
  ThreadPool pool(1, 1);
  Gate started;
  Gate gate;
  std::atomic<int> ran{0};
  pool.post([&] {
    started.open();
    gate.wait();
    for (int i = 0; i < 3; ++i) pool.post([&] { ++ran; });
  });
  started.wait();
  EXPECT_TRUE(pool.try_post([&] { ++ran; }));
  EXPECT_FALSE(pool.try_post([&] { ++ran; }));
  std::thread waits([&] { pool.post([&] { ++ran; }); });
  gate.open();
  waits.join();
  pool.join();
  EXPECT_EQ(ran, 5);
  EXPECT_THROW(pool.post([] {}), Cancelled);
}

TEST_F(Pools, AWaitingJobKeepsItsDomainAliveAndItsEndLetsGo) {
  ThreadPool pool(1);
  Gate gate;
  a.domain.run([&] { pool.post([&] { gate.wait(); }); });
  b.domain.run([&] { pool.post([] {}); });
  a.let_go();
  b.let_go();
  EXPECT_TRUE(a.alive());
  EXPECT_TRUE(b.alive());
  gate.open();
  pool.join();
  EXPECT_FALSE(a.alive());
  EXPECT_FALSE(b.alive());
}

class PoolThreads : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Of, PoolThreads, testing::Values(1, 8));

TEST_P(PoolThreads, OverlappingDomainsDoNotMix) {
  constexpr std::size_t kDomains = 300;
  ThreadPool pool(GetParam());
  std::vector<std::unique_ptr<Watched>> domains;
  std::atomic<int> strangers{0};
  for (std::size_t i = 0; i < kDomains; ++i) {
    const std::string name = "domain " + std::to_string(i);
    domains.push_back(std::make_unique<Watched>(name));
    domains.back()->domain.run([&] {
      pool.post([&, name] {
        if (active() != name) ++strangers;
        pool.submit([&, name] {
              if (active() != name) ++strangers;
              return name;
            })
            .then([](const std::string& mine) { fail_with((mine + " in " + active()).c_str()); });
      });
    });
  }
  pool.join();
  EXPECT_EQ(strangers, 0);
  for (std::size_t i = 0; i < kDomains; ++i) {
    const std::string name = "domain " + std::to_string(i);
    EXPECT_EQ(domains[i]->messages(), std::vector<std::string>{name + " in " + name});
  }
}

}  // namespace
}  // namespace refork::test
