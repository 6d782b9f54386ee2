// bind, intercept, report, members: errors that come in by other ways than a call of run.
#include <gtest/gtest.h>
#include <cerrno>
#include <functional>
#include <future>

#include <limits>
#include <memory>
#include <system_error>

#include "unit/domain_support.h"

namespace refork::test {
namespace {

const std::error_code refused = std::make_error_code(std::errc::connection_refused);

// D15
TEST(DomainBind, CallsInsideTheDomainWithArgumentsAndResult) {
  Domain d;
  auto bound = d.bind([](int a, std::unique_ptr<int> b) { return a + *b + (Domain::current() ? 100 : 0); });
  EXPECT_EQ(bound(1, std::make_unique<int>(2)), 103);
  EXPECT_EQ(bound.domain(), d);
  EXPECT_FALSE(Domain::current());
}

TEST(DomainBind, KeepsAMutableCallablesState) {
  auto counter = Domain().bind([n = 0]() mutable { return ++n; });
  counter();
  EXPECT_EQ(counter(), 2);
}

TEST(DomainBind, AnErrorGivesAnEmptyResultAndNeverPassesToTheCaller) {
  Domain d("d");
  Seen seen;
  d.on_error(seen.handler());
  auto bound = d.bind([](bool fail) -> std::string {
    if (fail) throw_error();
    return "fine";
  });
  EXPECT_EQ(bound(false), "fine");
  EXPECT_EQ(bound(true), "");
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_TRUE(seen.last().thrown);
  EXPECT_EQ(seen.last().bound, "");
}

TEST(DomainBind, ItsLabelNamesItInFailures) {
  Domain d;
  Seen seen;
  d.on_error(seen.handler());
  d.bind([] { throw_error(); }, "on_read")();
  EXPECT_EQ(seen.last().bound, "on_read");
}

// As a connection does in its last event.
TEST(DomainBind, MayDestroyItselfBeforeItFails) {
  for (const auto& label :
       std::vector<std::string>{"on_close", std::string(64, 'x'), std::string(65, 'x'), ""}) {
    Domain d;
    Seen seen;
    d.on_error(seen.handler());
    std::function<void()> callback;
    callback = d.bind(
        [&callback] {
          callback = nullptr;
          throw_error();
        },
        label);
    callback();
    ASSERT_EQ(seen.count(), 1u);
    EXPECT_EQ(seen.last().bound, label);
  }
}

// D4
TEST(DomainBind, BelongsToTheDomainActiveWhenItWasScheduled) {
  Domain a("a");
  Domain b("b");
  Seen seen;
  a.on_error(seen.handler());
  std::function<void()> scheduled;
  a.run([&] { scheduled = refork::bind([] { throw_error(); }); });
  b.run([&] { scheduled(); });
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_EQ(seen.last().domain, "a");
}

// D5
TEST(DomainBind, HopsFromCallbackToCallbackInTheSameDomain) {
  Domain d("d");
  Seen seen;
  d.on_error(seen.handler());
  std::vector<std::function<void()>> loop;
  d.run([&] { loop.push_back(refork::bind([&] { loop.push_back(refork::bind([] { throw_error(); })); })); });
  for (std::size_t i = 0; i < loop.size(); ++i) {
    auto callback = loop[i];
    callback();
  }
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_EQ(seen.last().domain, "d");
}

// D41
TEST(DomainBind, ARepeatedCallbackThatThrowsIsHandledEachTime) {
  Domain d;
  Seen seen;
  d.on_error(seen.handler());
  auto tick = d.bind([] { throw_error(); });
  for (int i = 0; i < 3; ++i) tick();
  EXPECT_EQ(seen.count(), 3u);
}

TEST(DomainBind, WithoutAnActiveDomainItOnlyCalls) {
  auto plain = refork::bind([](int a) { return a + 1; });
  EXPECT_EQ(plain(1), 2);
  EXPECT_FALSE(plain.domain());
  EXPECT_THROW(refork::bind([] { throw_error(); })(), std::runtime_error);
}

// D27
TEST(DomainBindDeathTest, WithoutAHandlerAnOuterDomainIsNotTried) {
  EXPECT_DEATH(
      {
        static bool unwound = false;
        std::set_terminate([] {
          std::fprintf(stderr, "unwound=%d active=%d\n", unwound, static_cast<bool>(Domain::current()));
          std::abort();
        });
        Domain outer("outer");
        outer.on_error([](const Failure&) { std::fputs("outer was told", stderr); });
        Domain inner("inner");
        auto bound = inner.bind([] {
          Unwound guard{unwound};
          throw_error();
        });
        try {
          outer.run([&] { bound(); });
        } catch (...) {
          std::fputs("the loop was told", stderr);
        }
      },
      "^unwound=0 active=0");
}

// D16
TEST(DomainIntercept, AnErrorIsReportedAndTheCallbackNotCalled) {
  Domain d("d");
  Seen seen;
  d.on_error(seen.handler());
  bool called = false;
  auto on_read = d.intercept([&](std::size_t) { called = true; }, "on_read");
  on_read(refused, std::size_t{0});
  EXPECT_FALSE(called);
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_EQ(seen.last().kind, Kind::error);
  EXPECT_FALSE(seen.last().thrown);
  EXPECT_EQ(seen.last().bound, "on_read");
  EXPECT_EQ(seen.last().type, "std::error_code");
  EXPECT_NE(seen.last().message.find("Connection refused"), std::string::npos);
}

TEST(DomainIntercept, OnSuccessTheFirstArgumentIsDropped) {
  Domain d;
  EXPECT_EQ(
      d.intercept([](int a, std::string b) { return b + std::to_string(a); })(std::error_code(), 3, "x"),
      "x3");
  EXPECT_EQ(d.intercept([](int a) { return a; })(std::exception_ptr(), 3), 3);
  EXPECT_EQ(d.intercept([] { return Domain::current() ? 1 : 0; })(std::error_code()), 1);
}

TEST(DomainIntercept, AnExceptionPtrIsDescribedAndItsStackSaidToBeAnothers) {
  Domain d;
  Seen seen;
  d.on_error(seen.handler());
  d.intercept([] {})(std::make_exception_ptr(std::out_of_range("far")));
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_EQ(seen.last().type, "std::out_of_range");
  EXPECT_EQ(seen.last().message, "far");
  EXPECT_FALSE(seen.last().thrown);
  EXPECT_TRUE(seen.last().rethrown);
}

TEST(DomainIntercept, WithoutALabelTheCallbacksTypeNamesIt) {
  Domain d;
  Seen seen;
  d.on_error(seen.handler());
  d.intercept([] {})(refused);
  EXPECT_NE(seen.last().bound.find("WithoutALabel"), std::string::npos) << seen.last().bound;
}

TEST(DomainIntercept, WhatTheCallbackThrowsIsCaptured) {
  Domain d;
  Seen seen;
  d.on_error(seen.handler());
  d.intercept([] { throw_error(); }, "on_read")(std::error_code());
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_TRUE(seen.last().thrown);
}

// D17
TEST(DomainIntercept, WithoutAHandlerTheErrorIsThrownToTheCaller) {
  Domain d;
  try {
    d.intercept([] {})(refused);
    FAIL() << "nothing was thrown";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), refused);
  }
  EXPECT_THROW(d.intercept([] {})(std::make_exception_ptr(std::out_of_range("far"))), std::out_of_range);
}

// D8
TEST(DomainReport, TellsTheDomainAndTheCodeAfterItGoesOn) {
  Domain d("d");
  Seen seen;
  d.on_error(seen.handler());
  bool went_on = false;
  EXPECT_TRUE(d.run([&] {
    d.report(refused, "connecting upstream");
    went_on = Domain::current() == d;
  }));
  EXPECT_TRUE(went_on);
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_EQ(seen.last().kind, Kind::error);
  EXPECT_FALSE(seen.last().thrown);
  EXPECT_EQ(seen.last().message, "connecting upstream: Connection refused (generic:111)");
  EXPECT_FALSE(seen.last().stack.empty());
}

TEST(DomainReport, AFailureMadeByHandKeepsItsWords) {
  Domain d;
  Seen seen;
  d.on_error(seen.handler());
  Failure failure;
  failure.type = "upstream";
  failure.message = "gave nonsense";
  d.report(failure);
  EXPECT_EQ(seen.last().type, "upstream");
  EXPECT_EQ(seen.last().kind, Kind::error);
  EXPECT_EQ(seen.last().domains, std::vector<std::string>{""});
}

// D42
TEST(DomainReport, NothingAtAllIsStillAnError) {
  Domain d;
  Seen seen;
  d.on_error(seen.handler());
  d.report(std::error_code());
  d.report(std::exception_ptr());
  ASSERT_EQ(seen.count(), 2u);
  EXPECT_EQ(seen.failures[0].message, "an error was reported without a code");
  EXPECT_EQ(seen.failures[1].message, "an error was reported without an exception");
}

// D9
TEST(DomainReport, WithoutAHandlerItIsThrownToTheCaller) {
  Domain d;
  EXPECT_THROW(d.report(refused), std::system_error);
  EXPECT_THROW(d.report(std::make_exception_ptr(std::out_of_range("far"))), std::out_of_range);
  Failure failure;
  failure.message = "by hand";
  EXPECT_THROW(d.report(failure), std::runtime_error);
}

// D11, D13, D14
TEST(DomainMembers, AreThoseAddedInOrder) {
  Domain d;
  Emitter a;
  Emitter b;
  d.add(a);
  d.add(b);
  d.add(a);  // twice is once
  EXPECT_EQ(d.members(), (std::vector<Emitter*>{&a, &b}));
  EXPECT_EQ(a.domain(), d);
  d.remove(a);
  EXPECT_EQ(d.members(), std::vector<Emitter*>{&b});
  EXPECT_FALSE(a.domain());
  d.remove(a);
  EXPECT_EQ(d.members(), std::vector<Emitter*>{&b});
}

TEST(DomainMembers, AMemberMovesFromOneDomainToAnother) {
  Domain a;
  Domain b;
  Emitter member;
  a.add(member);
  b.add(member);
  EXPECT_TRUE(a.members().empty());
  EXPECT_EQ(b.members(), std::vector<Emitter*>{&member});
  a.remove(member);  // not its own any more
  EXPECT_EQ(member.domain(), b);
  EXPECT_EQ(b.members(), std::vector<Emitter*>{&member});
}

TEST(DomainMembers, AMemberRemovesItselfWhenItEnds) {
  Domain d;
  {
    Emitter member;
    d.add(member);
  }
  EXPECT_TRUE(d.members().empty());
}

// D6
TEST(DomainMembers, AMemberMadeInsideIsBoundButNotListed) {
  Domain d;
  std::unique_ptr<Emitter> member;
  d.run([&] { member = std::make_unique<Emitter>("connection"); });
  EXPECT_EQ(member->domain(), d);
  EXPECT_TRUE(d.members().empty());
  d.remove(*member);
  EXPECT_FALSE(member->domain());
}

// D44
TEST(DomainMembers, AMemberKeepsItsDomainAlive) {
  Seen seen;
  Emitter connection("pooled");
  {
    Domain d("request");
    d.on_error(seen.handler());
    d.add(connection);
  }
  connection.report(refused);
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_EQ(seen.last().emitter, "pooled");
  EXPECT_EQ(seen.last().domain, "request");
  EXPECT_FALSE(seen.last().thrown);
}

// D7
TEST(DomainMembers, AListenerOfItsOwnWins) {
  Domain d;
  Seen domain_seen;
  Seen own;
  d.on_error(domain_seen.handler());
  Emitter member("upstream");
  d.add(member);
  member.on_error(own.handler());
  member.report(std::make_exception_ptr(std::out_of_range("far")));
  EXPECT_EQ(domain_seen.count(), 0u);
  ASSERT_EQ(own.count(), 1u);
  EXPECT_EQ(own.last().emitter, "upstream");
  member.on_error([](const Failure&) { throw_error("listener"); });
  EXPECT_THROW(member.report(refused), std::runtime_error);
}

TEST(DomainMembers, AnUnboundMemberThrowsToTheCaller) {
  Emitter member;
  EXPECT_THROW(member.report(refused), std::system_error);
}

// D10
TEST(DomainMembers, TheirEventsRunInTheirDomainWhicheverIsActive) {
  Domain own("own");
  Domain active("active");
  Seen seen;
  Seen other;
  own.on_error(seen.handler());
  active.on_error(other.handler());
  Emitter member("timer");
  own.add(member);
  Domain inside = Domain::empty();
  EXPECT_TRUE(active.run([&] {
    EXPECT_EQ(member.call([&](int value) { return inside = Domain::current(), value + 1; }, 1), 2);
    member.call([] { throw_error(); });
    EXPECT_EQ(Domain::current(), active);
  }));
  EXPECT_EQ(inside, own);
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_TRUE(seen.last().thrown);
  EXPECT_EQ(seen.last().bound, "timer");
  EXPECT_EQ(other.count(), 0u);
}

// D12
TEST(DomainMembers, ATimerAddedToAnotherDomainTicksInThatOne) {
  Domain first;
  Domain second;
  Seen seen;
  second.on_error(seen.handler());
  std::unique_ptr<Emitter> timer;
  first.run([&] { timer = std::make_unique<Emitter>("timer"); });
  auto tick = [&] { timer->call([] { throw_error("tick"); }); };
  second.add(*timer);
  tick();
  tick();
  EXPECT_EQ(seen.count(), 2u);
}

TEST(DomainMembers, AnUnboundMembersEventIsOnlyCalled) {
  Emitter member;
  EXPECT_EQ(member.call([] { return 7; }), 7);
  EXPECT_THROW(member.call([] { throw_error(); }), std::runtime_error);
}

TEST(DomainMembers, MovingOneWhileItsDomainHandlesItsErrorIsHarmless) {
  Domain d;
  Domain quarantine;
  Emitter member;
  d.add(member);
  d.on_error([&](const Failure&) { quarantine.add(member); });
  member.report(refused);
  EXPECT_TRUE(d.members().empty());
  EXPECT_EQ(quarantine.members(), std::vector<Emitter*>{&member});
}

// D9
TEST(DomainParent, IsToldWhatIsReportedToAChildWithoutAHandler) {
  Domain parent("parent");
  Domain child("child");
  Domain grandchild("grandchild");
  Seen seen;
  parent.on_error(seen.handler());
  parent.add(child);
  child.add(grandchild);
  EXPECT_EQ(grandchild.parent(), child);
  grandchild.report(refused);
  Emitter member("upstream");
  child.add(member);
  member.report(refused);
  ASSERT_EQ(seen.count(), 2u);
  EXPECT_EQ(seen.failures[0].domain, "parent");
  EXPECT_EQ(seen.failures[1].emitter, "upstream");
}

TEST(DomainParent, IsNotToldWhereTheChildHasAHandler) {
  Domain parent;
  Domain child;
  Seen told;
  Seen own;
  parent.on_error(told.handler());
  child.on_error(own.handler());
  parent.add(child);
  child.report(refused);
  EXPECT_EQ(told.count(), 0u);
  EXPECT_EQ(own.count(), 1u);
}

TEST(DomainParent, WithoutAHandlerTheErrorIsThrownToTheCaller) {
  Domain parent;
  Domain child;
  parent.add(child);
  EXPECT_THROW(child.report(refused), std::system_error);
}

TEST(DomainParent, IsTheLastOneAndGoesWhenRemoved) {
  Domain a;
  Domain b;
  Domain child;
  a.add(child);
  a.add(child);
  b.add(child);
  EXPECT_EQ(child.parent(), b);
  a.remove(child);  // not its parent any more
  EXPECT_EQ(child.parent(), b);
  b.remove(child);
  EXPECT_FALSE(child.parent());
}

// D11
TEST(DomainParent, NoDomainIsItsOwnAncestor) {
  Domain a;
  Domain b;
  Domain c;
  EXPECT_THROW(a.add(a), std::invalid_argument);
  a.add(b);
  b.add(c);
  EXPECT_THROW(c.add(a), std::invalid_argument);
  EXPECT_FALSE(a.parent());
  EXPECT_THROW(a.add(Domain::empty()), std::logic_error);
}

// D43
TEST(DomainParent, LivesAsLongAsItsChildAndIsFreedWithIt) {
  auto flag = std::make_shared<int>(0);
  std::weak_ptr<int> weak = flag;
  Domain child;
  {
    Domain parent;
    parent.on_error([kept = std::move(flag)](const Failure&) { ++*kept; });
    parent.add(child);
  }
  child.report(refused);
  ASSERT_FALSE(weak.expired());
  EXPECT_EQ(*weak.lock(), 1);
  child = Domain();
  EXPECT_TRUE(weak.expired());
}

template <class Error>
std::string intercepted(Error error) {
  Domain d;
  Seen seen;
  d.on_error(seen.handler());
  bool called = false;
  d.intercept([&] { called = true; })(error);
  EXPECT_NE(called, seen.count() == 1);
  return seen.count() == 1 ? seen.last().type + " " + seen.last().message : "";
}

struct TeapotError {
  int code;
};

}  // namespace
}  // namespace refork::test

template <>
struct refork::ErrorTraits<refork::test::TeapotError> {
  static bool is_error(const refork::test::TeapotError& error) noexcept { return error.code != 0; }
  static Failure describe(const refork::test::TeapotError& error) noexcept {
    return failure_of("teapot", "short and stout " + std::to_string(error.code));
  }
};

namespace refork::test {
namespace {

// D16
TEST(DomainIntercept, KnowsEveryConventionAndDropsNoError) {
  EXPECT_EQ(intercepted(-ECONNREFUSED), "std::error_code Connection refused (system:111)");
  EXPECT_EQ(intercepted(-ECONNREFUSED + 0L), "std::error_code Connection refused (system:111)");
  EXPECT_EQ(intercepted(std::numeric_limits<int>::min()),
            "std::error_code Unknown error 2147483647 (system:2147483647)");
  EXPECT_EQ(intercepted(std::errc::connection_refused), "std::error_code Connection refused (generic:111)");
  EXPECT_EQ(intercepted(std::future_errc::broken_promise), "std::error_code Broken promise (future:4)");
  EXPECT_EQ(intercepted(TeapotError{418}), "teapot short and stout 418");
  EXPECT_EQ(intercepted(std::make_exception_ptr(42)), "int 42");
}

TEST(DomainIntercept, TakesNoSuccessForAnError) {
  EXPECT_EQ(intercepted(0), "");
  EXPECT_EQ(intercepted(17), "");
  EXPECT_EQ(intercepted(std::errc()), "");
  EXPECT_EQ(intercepted(std::error_code()), "");
  EXPECT_EQ(intercepted(std::exception_ptr()), "");
  EXPECT_EQ(intercepted(TeapotError{0}), "");
}

}  // namespace
}  // namespace refork::test
