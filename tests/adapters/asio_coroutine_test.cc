// Coroutines of Boost.Asio: they resume in the domain of who awaits, and what they throw is never lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <thread>

#include "adapters/seen.h"
#include "refork/asio.hpp"

#ifndef BOOST_ASIO_HAS_CO_AWAIT
#error "this compiler's coroutines are not those of Boost.Asio"
#endif

namespace refork::test {
namespace {

namespace net = boost::asio;
using net::awaitable;
using net::use_awaitable;
using std::chrono::milliseconds;
using testing::ElementsAre;

awaitable<void> pause_a_little() {
  net::steady_timer timer(co_await net::this_coro::executor, milliseconds(0));
  co_await timer.async_wait(use_awaitable);
}

class AsioCoroutine : public testing::Test {
 public:
  void note(const std::string& what) { order.push_back(what + " in " + active()); }

 protected:
  net::io_context loop;
  refork::asio::Executor executor = refork::asio::make_executor(loop, Domain("otherwise"));
  Watched a{"a"};
  Watched b{"b"};
  std::vector<std::string> order;
};

// D39
TEST_F(AsioCoroutine, ResumesInTheDomainInWhichItWasSpawned) {
  const auto twice = [&]() -> awaitable<void> {
    note("begun");
    co_await pause_a_little();
    note("resumed");
  };
  a.domain.run([&] { refork::asio::spawn(executor, twice); });
  b.domain.run([&] { refork::asio::spawn(executor, twice()); });
  refork::asio::spawn(executor, twice);
  loop.run();
  EXPECT_THAT(order, testing::UnorderedElementsAre("begun in a", "resumed in a", "begun in b", "resumed in b",
                                                   "begun in otherwise", "resumed in otherwise"));
}

// D40
TEST_F(AsioCoroutine, WhatItThrowsGoesToTheDomainThatSpawnedIt) {
  const auto nested = []() -> awaitable<int> {
    co_await pause_a_little();
    fail_with("deep inside");
  };
  a.domain.run([&] {
    refork::asio::spawn(executor, [&]() -> awaitable<void> { co_await nested(); });
    refork::asio::spawn(executor, nested);
  });
  b.domain.run([&] { loop.run(); });
  EXPECT_THAT(a.messages(), ElementsAre("deep inside", "deep inside"));
  EXPECT_TRUE(is_thrown_plainly(a.last(), "a"));
  EXPECT_EQ(a.last().type, "std::runtime_error");
  EXPECT_EQ(b.count(), 0U);
}

// The library's own token drops it; that is why there is another.
TEST_F(AsioCoroutine, ReportedLosesNothingWhereDetachedDoes) {
  const auto fails = []() -> awaitable<void> {
    fail_with("lost or not");
    co_return;
  };
  a.domain.run([&] { net::co_spawn(executor, fails, net::detached); });
  b.domain.run([&] { net::co_spawn(executor, fails, refork::asio::reported); });
  loop.run();
  EXPECT_EQ(a.count(), 0U);
  EXPECT_EQ(b.messages(), std::vector<std::string>{"lost or not"});
}

TEST_F(AsioCoroutine, SpawnedOnAPlainContextItKeepsItsDomainToo) {
  const auto fails = [&]() -> awaitable<void> {
    co_await pause_a_little();
    note("resumed");
    fail_with("plain");
  };
  a.domain.run([&] { refork::asio::spawn(loop, fails); });
  b.domain.run([&] { refork::asio::spawn(loop.get_executor(), fails); });
  loop.run();
  EXPECT_THAT(order, testing::UnorderedElementsAre("resumed in a", "resumed in b"));
  EXPECT_EQ(a.count(), 1U);
  EXPECT_EQ(b.count(), 1U);
}

// D3
TEST_F(AsioCoroutine, AnAwaitersCatchWinsAndTheDomainIsNotTold) {
  bool caught = false;
  a.domain.run([&] {
    refork::asio::spawn(executor, [&]() -> awaitable<void> {
      try {
        co_await [](AsioCoroutine&) -> awaitable<void> {
          co_await pause_a_little();
          fail_with("caught");
        }(*this);
      } catch (const std::runtime_error&) {
        caught = true;
      }
      note("after");
    });
  });
  loop.run();
  EXPECT_TRUE(caught);
  EXPECT_EQ(a.count(), 0U);
  EXPECT_THAT(order, ElementsAre("after in a"));
}

// D39: of something that was begun elsewhere, and is completed elsewhere.
TEST_F(AsioCoroutine, ResumesInItsOwnDomainWhoeverCompletesWhatItAwaits) {
  net::steady_timer signal(loop, std::chrono::hours(1));
  a.domain.run([&] {
    refork::asio::spawn(executor, [&]() -> awaitable<void> {
      boost::system::error_code ignored;
      co_await signal.async_wait(net::redirect_error(use_awaitable, ignored));
      note("resumed");
      fail_with("after it");
    });
  });
  b.domain.run([&] {
    net::post(executor, [&] {
      note("completed");
      signal.cancel();
    });
  });
  loop.run();
  EXPECT_THAT(order, ElementsAre("completed in b", "resumed in a"));
  EXPECT_EQ(a.messages(), std::vector<std::string>{"after it"});
  EXPECT_EQ(b.count(), 0U);
}

TEST_F(AsioCoroutine, ResumesInItsOwnDomainThoughTheTimerIsAMemberOfAnother) {
  refork::asio::Timer timer(executor, milliseconds(0));
  b.domain.add(timer);
  a.domain.run([&] {
    refork::asio::spawn(executor, [&]() -> awaitable<void> {
      co_await timer.async_wait(use_awaitable);
      note("resumed");
      fail_with("after it");
    });
  });
  loop.run();
  EXPECT_THAT(order, ElementsAre("resumed in a"));
  EXPECT_EQ(a.messages(), std::vector<std::string>{"after it"});
  EXPECT_EQ(b.count(), 0U);
}

TEST_F(AsioCoroutine, AScopeLeftOpenByAnAwaitDoesNotReachOthersOfTheThread) {
  a.domain.run([&] {
    refork::asio::spawn(executor, [&]() -> awaitable<void> {
      const Scope scope = b.domain.enter();
      co_await pause_a_little();
      note("resumed");
    });
  });
  net::post(executor, [&] { note("another's"); });
  net::post(loop, [&] { note("a plain one"); });
  loop.run();
  EXPECT_THAT(order, ElementsAre("another's in otherwise", "a plain one in none", "resumed in b"));
  EXPECT_EQ(active(), "none");
}

TEST_F(AsioCoroutine, AwaitsInsideAnotherDomainAndReturnsFromIt) {
  a.domain.run([&] {
    refork::asio::spawn(executor, [&]() -> awaitable<void> {
      const std::optional<int> seven =
          co_await refork::asio::run(b.domain, [](AsioCoroutine& t) -> awaitable<int> {
            t.note("inside");
            co_await pause_a_little();
            t.note("still inside");
            co_return 7;
          }(*this));
      note(seven == 7 ? "seven" : "nothing");
      const bool done = co_await refork::asio::run(b.domain, []() -> awaitable<void> {
        fail_with("of b");
        co_return;
      }());
      note(done ? "done" : "captured");
      co_await pause_a_little();
      note("later");
    });
  });
  loop.run();
  EXPECT_THAT(order,
              ElementsAre("inside in b", "still inside in b", "seven in a", "captured in a", "later in a"));
  EXPECT_EQ(b.messages(), std::vector<std::string>{"of b"});
  EXPECT_EQ(a.count(), 0U);
}

// D26
TEST_F(AsioCoroutine, WithoutAHandlerOfTheInnerDomainTheErrorGoesOnToTheAwaiter) {
  const Domain inner("inner");
  a.domain.run([&] {
    refork::asio::spawn(executor, [&]() -> awaitable<void> {
      co_await refork::asio::run(inner, []() -> awaitable<int> {
        fail_with("outward");
        co_return 1;
      }());
    });
  });
  loop.run();
  EXPECT_EQ(a.messages(), std::vector<std::string>{"outward"});
}

TEST_F(AsioCoroutine, TwoAtOnceAreAwaitedInTheAwaitersDomain) {
  using namespace net::experimental::awaitable_operators;
  const auto one = [&](const char* name) -> awaitable<void> {
    co_await pause_a_little();
    note(name);
  };
  a.domain.run([&] {
    refork::asio::spawn(executor, [&]() -> awaitable<void> {
      co_await (one("one") && one("two"));
      note("both");
    });
  });
  b.domain.run([&] { loop.run(); });
  EXPECT_THAT(order, testing::UnorderedElementsAre("one in a", "two in a", "both in a"));
}

TEST_F(AsioCoroutine, OnAStrandItKeepsItsDomainAmongOthers) {
  const auto strand = net::make_strand(executor);
  const auto fails = [&]() -> awaitable<void> {
    for (int i = 0; i < 3; ++i) co_await pause_a_little();
    fail_with(active().c_str());
  };
  a.domain.run([&] { refork::asio::spawn(strand, fails); });
  b.domain.run([&] { refork::asio::spawn(strand, fails); });
  loop.run();
  EXPECT_EQ(a.messages(), std::vector<std::string>{"a"});
  EXPECT_EQ(b.messages(), std::vector<std::string>{"b"});
}

// D43
TEST_F(AsioCoroutine, ASuspendedCoroutineKeepsItsDomainAliveAndItsEndLetsGo) {
  a.domain.run([&] { refork::asio::spawn(executor, pause_a_little()); });
  a.let_go();
  EXPECT_TRUE(a.alive());
  loop.run();
  EXPECT_FALSE(a.alive());
}

class AsioCoroutineThreads : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Of, AsioCoroutineThreads, testing::Values(1, 8));

TEST_P(AsioCoroutineThreads, OverlappingDomainsDoNotMix) {
  constexpr std::size_t kDomains = 100;
  net::io_context loop;
  const auto executor = refork::asio::make_executor(loop);
  const Domain inner("inner");
  std::vector<std::unique_ptr<Watched>> domains;
  std::atomic<int> strangers{0};
  const auto hop = [&](std::string name) -> awaitable<void> {
    for (int i = 0; i < 3; ++i) {
      if (active() != name) ++strangers;
      co_await pause_a_little();
      co_await refork::asio::run(inner, pause_a_little());
    }
    fail_with(name.c_str());
  };
  for (std::size_t i = 0; i < kDomains; ++i) {
    domains.push_back(std::make_unique<Watched>("domain " + std::to_string(i)));
    domains.back()->domain.run([&] { refork::asio::spawn(executor, hop("domain " + std::to_string(i))); });
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < GetParam(); ++i) threads.emplace_back([&] { loop.run(); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(strangers, 0);
  for (std::size_t i = 0; i < kDomains; ++i)
    EXPECT_EQ(domains[i]->messages(), std::vector<std::string>{"domain " + std::to_string(i)});
}

}  // namespace
}  // namespace refork::test
