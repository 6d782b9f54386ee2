// bind, intercept, report, members: errors that come in by other ways than a call of run.
#include <gtest/gtest.h>

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
  Member a;
  Member b;
  d.add(a);
  d.add(b);
  d.add(a);  // twice is once
  EXPECT_EQ(d.members(), (std::vector<Member*>{&a, &b}));
  EXPECT_EQ(a.domain(), d);
  d.remove(a);
  EXPECT_EQ(d.members(), std::vector<Member*>{&b});
  EXPECT_FALSE(a.domain());
  d.remove(a);
  EXPECT_EQ(d.members(), std::vector<Member*>{&b});
}

TEST(DomainMembers, AMemberMovesFromOneDomainToAnother) {
  Domain a;
  Domain b;
  Member member;
  a.add(member);
  b.add(member);
  EXPECT_TRUE(a.members().empty());
  EXPECT_EQ(b.members(), std::vector<Member*>{&member});
  a.remove(member);  // not its own any more
  EXPECT_EQ(member.domain(), b);
  EXPECT_EQ(b.members(), std::vector<Member*>{&member});
}

TEST(DomainMembers, AMemberRemovesItselfWhenItEnds) {
  Domain d;
  {
    Member member;
    d.add(member);
  }
  EXPECT_TRUE(d.members().empty());
}

// D6
TEST(DomainMembers, AMemberMadeInsideIsBoundButNotListed) {
  Domain d;
  std::unique_ptr<Member> member;
  d.run([&] { member = std::make_unique<Member>("connection"); });
  EXPECT_EQ(member->domain(), d);
  EXPECT_TRUE(d.members().empty());
  d.remove(*member);
  EXPECT_FALSE(member->domain());
}

// D44
TEST(DomainMembers, AMemberKeepsItsDomainAlive) {
  Seen seen;
  Member connection("pooled");
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
  Member member("upstream");
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
  Member member;
  EXPECT_THROW(member.report(refused), std::system_error);
}

}  // namespace
}  // namespace refork::test
