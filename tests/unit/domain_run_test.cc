// run, enter, nesting: who captures, and that the stack of active domains is always what it was.
#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>

#include "unit/domain_support.h"

namespace refork::test {
namespace {

TEST(DomainHandle, NamesADomainAndComparesByIt) {
  Domain a("a");
  Domain same = a;
  Domain b("a");
  EXPECT_EQ(a, same);
  EXPECT_NE(a, b);
  EXPECT_EQ(a.name(), "a");
  EXPECT_TRUE(a);
  EXPECT_FALSE(Domain::empty());
  EXPECT_EQ(Domain::empty().name(), "");
}

TEST(DomainHandle, AssignmentKeepsTheOtherDomainAlive) {
  Domain a("a");
  Domain b("b");
  a = b;
  EXPECT_EQ(a, b);
  a = std::as_const(a);
  EXPECT_EQ(a.name(), "b");
  b = std::move(a);
  EXPECT_EQ(b.name(), "b");
  EXPECT_FALSE(a);  // NOLINT: a moved-from handle is empty
}

TEST(DomainHandle, EmptyOneRunsPlainlyAndRefusesWhatNeedsADomain) {
  const Domain none = Domain::empty();
  EXPECT_EQ(none.run([] { return 7; }), 7);
  EXPECT_THROW(none.run([] { throw_error(); }), std::runtime_error);
  EXPECT_THROW(none.on_error([](const Failure&) {}), std::logic_error);
  EXPECT_THROW(none.set("key", "value"), std::logic_error);
  EXPECT_EQ(none.get("key"), std::nullopt);
  EXPECT_TRUE(none.members().empty());
}

// D1
TEST(DomainRun, ANewDomainIsNotBoundToTheActiveOne) {
  Domain a("a");
  a.run([&] {
    Domain b("b");
    EXPECT_EQ(Domain::current(), a);
    EXPECT_TRUE(a.members().empty());
  });
}

// D2
TEST(DomainRun, PassesArgumentsAndReturnsTheResult) {
  Domain d;
  EXPECT_EQ(d.run([](int a, const std::string& b) { return b + std::to_string(a); }, 4, "n"), "n4");
  EXPECT_TRUE(d.run([] {}));
  int value = 1;
  auto reference = d.run([&]() -> int& { return value; });
  reference->get() = 2;
  EXPECT_EQ(value, 2);
  auto moved = d.run([](std::unique_ptr<int> p) { return p; }, std::make_unique<int>(3));
  EXPECT_EQ(**moved, 3);
}

enum class Small : std::uint8_t {
  none,
  most = 255
};
struct Part {
  int of_register;
};

// Whatever leaving the domain takes, the caller gets what the function returned.
template <class T>
void expect_returned(T value) {
  auto owner = std::make_unique<Domain>();
  std::unique_ptr<Scope> left_open;
  EXPECT_EQ(owner->run([&] { return value; }), value);
  EXPECT_EQ(owner->bind([&] { return value; })(), value);
  const auto leaves_a_scope = [&] {
    left_open = std::unique_ptr<Scope>(new Scope(owner->enter()));
    return value;
  };
  EXPECT_EQ(owner->run(leaves_a_scope), value);
  EXPECT_EQ(owner->bind(leaves_a_scope)(), value);
  const auto drops_the_last_handle = [&] {
    owner.reset();
    return value;
  };
  EXPECT_EQ(owner->run(drops_the_last_handle), value);
  EXPECT_FALSE(Domain::current());
}

TEST(DomainRun, ReturnsTheResultHoweverTheDomainIsLeft) {
  expect_returned(true);
  expect_returned(false);
  expect_returned('c');
  expect_returned(static_cast<signed char>(-1));
  expect_returned(static_cast<short>(-2));
  expect_returned(-3);
  expect_returned(std::numeric_limits<long long>::min());
  expect_returned(std::numeric_limits<std::uint64_t>::max());
  expect_returned(Small::most);
  expect_returned(std::errc::timed_out);
  expect_returned("a pointer");
  expect_returned(&throw_error);
  expect_returned(nullptr);
  expect_returned(0.5);
  expect_returned(0.25L);
  expect_returned(std::string("an object"));
}

TEST(DomainRun, ReturnsAnObjectThatWouldFitARegister) {
  Domain d;
  EXPECT_EQ(d.run([] { return Part{7}; })->of_register, 7);
  EXPECT_EQ(d.bind([] { return Part{8}; })().of_register, 8);
  EXPECT_EQ(*d.bind([] { return std::make_unique<int>(9); })(), 9);
  int value = 10;
  EXPECT_EQ(&d.run([&]() -> const int& { return value; })->get(), &value);
  EXPECT_EQ(d.run([&]() -> int&& { return std::move(value); }), 10);
  EXPECT_EQ(d.run([]() noexcept { return 11; }), 11);
  const std::function<const volatile int*()> pointer = [&] { return &value; };
  EXPECT_EQ(d.run(pointer), &value);
}

TEST(DomainRun, MakesTheDomainActiveAndRestoresTheOneBefore) {
  Domain a("a");
  Domain b("b");
  EXPECT_FALSE(Domain::current());
  a.run([&] {
    EXPECT_EQ(Domain::current(), a);
    b.run([&] { EXPECT_EQ(Domain::current(), b); });
    EXPECT_EQ(Domain::current(), a);
  });
  EXPECT_FALSE(Domain::current());
}

TEST(DomainRun, CapturesWhatIsThrownAndReturnsNothing) {
  Domain d("request");
  Seen seen;
  d.on_error(seen.handler());
  EXPECT_EQ(d.run([]() -> int { throw_error(); }), std::nullopt);
  EXPECT_FALSE(d.run([] { throw_error(); }));
  ASSERT_EQ(seen.count(), 2u);
  EXPECT_EQ(seen.last().kind, Kind::exception);
  EXPECT_EQ(seen.last().domain, "request");
  EXPECT_TRUE(seen.last().thrown);
  EXPECT_EQ(seen.last().bound, "");
  EXPECT_EQ(seen.last().emitter, "");
  EXPECT_FALSE(Domain::current());
}

TEST(DomainRun, UnwindsWhatItCaptures) {
  Domain d;
  d.on_error([](const Failure&) {});
  bool unwound = false;
  d.run([&] {
    Unwound guard{unwound};
    throw_error();
  });
  EXPECT_TRUE(unwound);
  EXPECT_EQ(std::uncaught_exceptions(), 0);
  EXPECT_FALSE(std::current_exception());
}

// D3
TEST(DomainRun, ACallersCatchInsideWinsAndTheDomainIsNotTold) {
  Domain d;
  Seen seen;
  d.on_error(seen.handler());
  EXPECT_TRUE(d.run([] {
    try {
      throw_error();
    } catch (const std::runtime_error&) {
    }
  }));
  EXPECT_EQ(seen.count(), 0u);
}

TEST(DomainRun, WithoutAHandlerTheExceptionGoesOutwardToACatch) {
  Domain a("a");
  EXPECT_THROW(a.run([] { throw_error(); }), std::runtime_error);
  EXPECT_FALSE(Domain::current());
}

// D26
TEST(DomainNesting, WithoutAnInnerHandlerTheOuterDomainCaptures) {
  Domain outer("outer");
  Domain inner("inner");
  Seen seen;
  outer.on_error(seen.handler());
  EXPECT_FALSE(outer.run([&] { inner.run([] { throw_error(); }); }));
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_EQ(seen.last().domain, "outer");
  EXPECT_EQ(seen.last().domains, (std::vector<std::string>{"inner", "outer"}));
}

TEST(DomainNesting, TheInnerHandlerAloneIsTold) {
  Domain outer("outer");
  Domain inner("inner");
  Seen outer_seen;
  Seen inner_seen;
  outer.on_error(outer_seen.handler());
  inner.on_error(inner_seen.handler());
  bool went_on = false;
  EXPECT_TRUE(outer.run([&] {
    inner.run([] { throw_error(); });
    went_on = Domain::current() == outer;
  }));
  EXPECT_TRUE(went_on);
  EXPECT_EQ(inner_seen.count(), 1u);
  EXPECT_EQ(outer_seen.count(), 0u);
}

TEST(DomainNesting, ACatchBetweenTwoDomainsWinsOverTheOuterOne) {
  Domain outer("outer");
  Domain inner("inner");
  Seen seen;
  outer.on_error(seen.handler());
  EXPECT_TRUE(outer.run([&] { EXPECT_THROW(inner.run([] { throw_error(); }), std::runtime_error); }));
  EXPECT_EQ(seen.count(), 0u);
}

// X12
TEST(DomainStack, IsRestoredWhenAnExceptionPassesThrough) {
  Domain outer("outer");
  Domain inner("inner");
  outer.on_error([](const Failure&) {});
  outer.run([&] {
    try {
      inner.run([&] {
        auto scope = Domain("scope").enter();
        throw_error();
      });
    } catch (const std::runtime_error&) {
    }
    EXPECT_EQ(Domain::current(), outer);
  });
  EXPECT_FALSE(Domain::current());
}

// D18, D19
TEST(DomainStack, LeavingAScopeAlsoLeavesThoseAboveIt) {
  Domain a("a");
  Domain b("b");
  Domain c("c");
  auto of_a = std::unique_ptr<Scope>(new Scope(a.enter()));
  auto of_b = std::unique_ptr<Scope>(new Scope(b.enter()));
  auto of_c = std::unique_ptr<Scope>(new Scope(c.enter()));
  EXPECT_EQ(Domain::current(), c);
  of_b.reset();
  EXPECT_EQ(Domain::current(), a);
  of_c.reset();  // not on the stack any more: changes nothing
  EXPECT_EQ(Domain::current(), a);
  of_a.reset();
  EXPECT_FALSE(Domain::current());
}

TEST(DomainStack, AScopeCapturesNothingByItself) {
  Domain d;
  Seen seen;
  d.on_error(seen.handler());
  EXPECT_THROW(
      {
        auto scope = d.enter();
        throw_error();
      },
      std::runtime_error);
  EXPECT_EQ(seen.count(), 0u);
  EXPECT_FALSE(Domain::current());
}

TEST(DomainStack, NoneLeavesAllDomainsForAWhile) {
  Domain d;
  d.run([&] {
    {
      auto nowhere = Domain::none();
      EXPECT_FALSE(Domain::current());
      EXPECT_FALSE(refork::bind([] {}).domain());
    }
    EXPECT_EQ(Domain::current(), d);
  });
}

TEST(DomainStack, BelongsToTheThread) {
  Domain d;
  d.run([] { on_a_thread([] { EXPECT_FALSE(Domain::current()); }); });
}

TEST(DomainStack, DoesNotGrowWithAThousandErrors) {
  Domain d("d");
  Seen seen;
  d.on_error(seen.handler());
  auto bound = d.bind([] { throw_error(); });
  for (int i = 0; i < 1000; ++i) bound();
  ASSERT_EQ(seen.count(), 1000u);
  EXPECT_EQ(seen.last().domains.size(), 1u);
  EXPECT_EQ(seen.last().stack.size(), seen.failures.front().stack.size());
}

// D36
TEST(DomainOnError, SetWhileInsideCaptures) {
  Domain d;
  Seen seen;
  d.run([&] {
    d.on_error(seen.handler());
    throw_error();
  });
  EXPECT_EQ(seen.count(), 1u);
}

// D37
TEST(DomainOnError, SetAfterBindingCapturesAndRemovedNoMore) {
  Domain d;
  Seen seen;
  auto bound = d.bind([] { throw_error(); });
  d.on_error(seen.handler());
  bound();
  EXPECT_EQ(seen.count(), 1u);
  d.on_error(nullptr);
  EXPECT_THROW(d.run([] { throw_error(); }), std::runtime_error);
  EXPECT_EQ(seen.count(), 1u);
}

TEST(DomainOnError, TheLastOneSetIsTheHandler) {
  Domain d;
  Seen first;
  Seen second;
  d.on_error(first.handler());
  d.on_error(second.handler());
  d.run([] { throw_error(); });
  EXPECT_EQ(first.count(), 0u);
  EXPECT_EQ(second.count(), 1u);
}

// D38
TEST(DomainOnError, SeveralHandlersRunInOrder) {
  Domain d;
  std::string order;
  d.on_error([&](const Failure&) { order += "a"; });
  d.also_on_error([&](const Failure&) { order += "b"; });
  d.also_on_error([&](const Failure&) { order += "c"; });
  d.run([] { throw_error(); });
  EXPECT_EQ(order, "abc");
  d.on_error([&](const Failure&) { order += "d"; });  // in place of them all
  d.run([] { throw_error(); });
  EXPECT_EQ(order, "abcd");
}

TEST(DomainOnError, AHandlerAfterOneThatThrowsIsNotRun) {
  Domain outer;
  Domain d;
  Seen seen;
  bool second = false;
  outer.on_error(seen.handler());
  d.also_on_error([](const Failure&) { throw_error("handler"); });
  d.also_on_error([&](const Failure&) { second = true; });
  outer.run([&] { d.run([] { throw_error(); }); });
  EXPECT_FALSE(second);
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_EQ(seen.last().message, "handler");
}

// D37
TEST(DomainOnError, AHandlerThatTakesItselfAwayIsTheHandlerOnce) {
  Domain outer;
  Domain d;
  Seen seen;
  int once = 0;
  outer.on_error(seen.handler());
  d.on_error([&, d](const Failure&) {
    ++once;
    d.on_error({});
  });
  outer.run([&] {
    d.run([] { throw_error("first"); });
    d.run([] { throw_error("second"); });
  });
  EXPECT_EQ(once, 1);
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_EQ(seen.last().message, "second");
}

// D33
TEST(FailureObserver, IsToldBeforeTheHandlerOfEveryFailure) {
  std::string order;
  observe_failures([&](const Failure& failure) {
    order += "(" + failure.message;
    EXPECT_FALSE(Domain::current());
    throw_error("who looks on changes nothing");
  });
  Domain d;
  d.on_error([&](const Failure&) { order += ")"; });
  d.run([] { throw_error("thrown"); });
  d.report(failure_of("own", "reported"));
  d.run([] {
    try {
      throw_error("caught");
    } catch (...) {
    }
  });
  observe_failures({});
  d.run([] { throw_error("unobserved"); });
  EXPECT_EQ(order, "(thrown)(reported))");
}

TEST(DomainOnError, MayReplaceItselfWhileItRuns) {
  Domain d;
  Seen seen;
  auto owned = std::make_shared<int>(5);
  d.on_error([&, owned](const Failure&) {
    d.on_error(seen.handler());
    EXPECT_EQ(*owned, 5);
  });
  d.run([] { throw_error(); });
  EXPECT_EQ(owned.use_count(), 1);
  d.run([] { throw_error(); });
  EXPECT_EQ(seen.count(), 1u);
}

// D43
TEST(DomainLife, AHandleInItsOwnHandlerDoesNotKeepItAlive) {
  auto witness = std::make_shared<int>();
  {
    Domain d;
    d.on_error([d, witness](const Failure&) { EXPECT_TRUE(d); });
    d.run([] { throw_error(); });
    EXPECT_EQ(witness.use_count(), 2);
  }
  EXPECT_EQ(witness.use_count(), 1);
}

TEST(DomainLife, AHandleThatTheHandlerGaveAwayCounts) {
  Domain kept = Domain::empty();
  {
    Domain d("given away");
    d.on_error([d, &kept](const Failure&) mutable { kept = std::move(d); });
    d.run([] { throw_error(); });
  }
  EXPECT_EQ(kept.name(), "given away");
}

TEST(DomainLife, ABoundCallbackKeepsItsDomainAlive) {
  Seen seen;
  std::function<void()> later;
  {
    Domain d("gone");
    d.on_error(seen.handler());
    later = d.bind([] { throw_error(); });
  }
  later();
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_EQ(seen.last().domain, "gone");
}

TEST(DomainLife, OutlivesItsLastHandleUntilItIsLeft) {
  auto owner = std::make_unique<Domain>("owned");
  Seen seen;
  owner->on_error(seen.handler());
  owner->run([&] {
    owner.reset();
    EXPECT_EQ(Domain::current().name(), "owned");
    Domain::current().run([] {});
    throw_error();
  });
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_EQ(seen.last().domain, "owned");
}

TEST(DomainLife, EndsWhereItIsLeftHoweverThatHappens) {
  const auto witness = std::make_shared<int>();
  std::unique_ptr<Domain> owner;
  const auto drops_the_last_handle = [&] {
    owner.reset();
    EXPECT_EQ(witness.use_count(), 2);
  };
  const auto make = [&](Domain::Handler handler) {
    owner = std::make_unique<Domain>();
    owner->on_error(std::move(handler));
  };
  make([witness](const Failure&) {});
  owner->run(drops_the_last_handle);
  EXPECT_EQ(witness.use_count(), 1);

  make([witness](const Failure&) {});
  owner->run([&] {
    drops_the_last_handle();
    throw_error();
  });
  EXPECT_EQ(witness.use_count(), 1);

  make([witness](const Failure&) { throw_error("handler"); });
  Domain outer;
  Seen seen;
  outer.on_error(seen.handler());
  outer.run([&] {
    owner->run([&] {
      drops_the_last_handle();
      throw_error();
    });
  });
  EXPECT_EQ(seen.count(), 1u);
  EXPECT_EQ(witness.use_count(), 1);
}

TEST(DomainLife, AScopeOfATemporaryKeepsTheDomain) {
  auto scope = Domain("temporary").enter();
  EXPECT_EQ(Domain::current().name(), "temporary");
}

TEST(DomainLife, ManyMoreDomainsThanTheThreadKeepsSpareOnes) {
  std::vector<Domain> domains;
  for (int i = 0; i < 200; ++i) domains.emplace_back(std::to_string(i));
  for (int i = 0; i < 200; ++i) EXPECT_EQ(domains[static_cast<std::size_t>(i)].name(), std::to_string(i));
  on_a_thread([&] { domains.clear(); });
}

// D30: never concurrently with itself, on the thread that captured.
TEST(DomainThreads, TheHandlerRunsOnTheCapturingThreadAndNeverTwiceAtOnce) {
  Domain d;
  std::atomic<int> inside{0};
  int handled = 0;  // guarded by the domain
  thread_local int on_this_thread = 0;
  d.on_error([&](const Failure&) {
    EXPECT_EQ(inside.fetch_add(1), 0);
    ++handled;
    ++on_this_thread;
    inside.fetch_sub(1);
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) d.run([] { throw_error(); });
      EXPECT_EQ(on_this_thread, 100);
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(handled, 400);
}

TEST(DomainThreads, HandlersMayBeReplacedWhileOthersRun) {
  Domain d;
  std::atomic<int> handled{0};
  auto handler = [&](const Failure&) { handled.fetch_add(1); };
  d.on_error(handler);
  std::thread thrower([&] {
    for (int i = 0; i < 200; ++i) d.run([] { throw_error(); });
  });
  for (int i = 0; i < 200; ++i) d.on_error(handler);
  thrower.join();
  EXPECT_EQ(handled.load(), 200);
}

#ifndef __SANITIZE_THREAD__
TEST(DomainRun, CancellationOfTheThreadPassesThrough) {
  struct {
    void (*cancel)();
    bool unwound = false;
    int handled = 0;
    bool left = false;
  } way;
  const auto on_thread = [](void* arg) -> void* {
    auto& seen = *static_cast<decltype(way)*>(arg);
    struct OutsideAgain {
      bool& outside;
      ~OutsideAgain() { outside = !Domain::current(); }
    } left{seen.left};
    Domain outer, inner;
    outer.on_error([&](const Failure&) { ++seen.handled; });
    inner.on_error([&](const Failure&) { ++seen.handled; });
    outer.run([&] {
      inner.run([&] {
        Unwound guard{seen.unwound};
        seen.cancel();
      });
    });
    return nullptr;
  };
  const auto cancel_itself = [] {
    pthread_cancel(pthread_self());
    pthread_testcancel();
  };
  for (void (*cancel)() : {static_cast<void (*)()>(cancel_itself), +[] { pthread_exit(nullptr); }}) {
    way = {cancel};
    pthread_t thread;
    ASSERT_EQ(pthread_create(&thread, nullptr, on_thread, &way), 0);
    pthread_join(thread, nullptr);
    EXPECT_TRUE(way.unwound);
    EXPECT_TRUE(way.left);
    EXPECT_EQ(way.handled, 0);
  }
}
#endif

TEST(DomainRunDeathTest, WhereNobodyCapturesTerminateIsCalledAtTheThrow) {
  EXPECT_DEATH(on_a_thread([] {
                 static bool unwound = false;
                 std::set_terminate([] {
                   std::fprintf(stderr, "unwound=%d exception=%d\n", unwound,
                                std::current_exception() != nullptr);
                   std::abort();
                 });
                 Domain().run([] {
                   Unwound guard{unwound};
                   Domain().run([] { throw_error(); });
                 });
               }),
               "unwound=0 exception=1");
}

TEST(DomainRunDeathTest, ANoexceptFunctionInsideTerminatesAsEver) {
  EXPECT_DEATH(
      {
        Domain d;
        d.on_error([](const Failure&) { std::fputs("captured", stderr); });
        d.run([]() noexcept { throw_error("no way out"); });
      },
      "no way out");
}

}  // namespace
}  // namespace refork::test
