// What the process's Worker sees of domains: what is recorded, when, and for which request; here it is a
// fake.
#include <gtest/gtest.h>

#include <map>

#include "domain/hooks.h"
#include "unit/domain_support.h"

namespace refork::test {
namespace {

class FakeSink final : public domain::Sink {
 public:
  struct Record {
    Failure failure;
    Then then;
    std::uint64_t request;
    Domain active;
  };
  FakeSink() { domain::set_sink(this); }
  ~FakeSink() override { domain::set_sink(nullptr); }
  void record(Failure& failure, Then then, std::uint64_t request) noexcept override {
    if (failure.original)
      failure.id = failure.original->id;
    else
      failure.id = "id-" + std::to_string(records.size());
    records.push_back({failure, then, request, Domain::current()});
    order.push_back("record");
  }
  std::vector<Record> records;
  std::vector<std::string> order;
};

class DomainSink : public testing::Test {
 protected:
  FakeSink sink;
};

TEST_F(DomainSink, IsToldBeforeTheHandlerWhichSeesTheId) {
  Domain d("d");
  std::string id;
  d.on_error([&](const Failure& failure) {
    sink.order.push_back("handler");
    id = failure.id;
  });
  d.run([] { throw_error(); });
  EXPECT_EQ(sink.order, (std::vector<std::string>{"record", "handler"}));
  EXPECT_EQ(id, "id-0");
  ASSERT_EQ(sink.records.size(), 1u);
  EXPECT_EQ(sink.records[0].then, Then::drain);
  EXPECT_EQ(sink.records[0].failure.message, "boom");
}

TEST_F(DomainSink, IsToldThatTheHandlerWantsToServeOn) {
  Domain d;
  d.on_error([](const Failure&) {}, Then::serve);
  d.run([] { throw_error(); });
  d.report(std::make_error_code(std::errc::timed_out));
  ASSERT_EQ(sink.records.size(), 2u);
  EXPECT_EQ(sink.records[0].then, Then::serve);
  EXPECT_EQ(sink.records[1].then, Then::serve);
  EXPECT_EQ(sink.records[1].failure.kind, Kind::error);
}

// D32
TEST_F(DomainSink, IsCalledOutsideAllDomains) {
  Domain outer("outer");
  Domain d;
  d.on_error([](const Failure&) {});
  outer.run([&] { d.run([] { throw_error(); }); });
  ASSERT_EQ(sink.records.size(), 1u);
  EXPECT_FALSE(sink.records[0].active);
}

TEST_F(DomainSink, BacksTheOutermostRunThatHasNoHandler) {
  Domain outer("outer");
  Domain inner("inner");
  EXPECT_FALSE(outer.run([&] { inner.run([] { throw_error(); }); }));
  ASSERT_EQ(sink.records.size(), 1u);
  EXPECT_EQ(sink.records[0].failure.domain, "outer");
  EXPECT_EQ(sink.records[0].failure.domains, (std::vector<std::string>{"inner", "outer"}));
  EXPECT_FALSE(Domain::current());
}

TEST_F(DomainSink, DoesNotStopAnInnerRunsErrorFromReachingACatch) {
  Domain outer("outer");
  Domain inner("inner");
  EXPECT_TRUE(outer.run([&] { EXPECT_THROW(inner.run([] { throw_error(); }), std::runtime_error); }));
  EXPECT_TRUE(sink.records.empty());
}

// D27
TEST_F(DomainSink, BacksABoundCallbackAndNoOuterDomainIsTried) {
  Domain outer("outer");
  Domain inner("inner");
  Seen seen;
  outer.on_error(seen.handler());
  auto bound = inner.bind([]() -> int { throw_error(); }, "timer");
  EXPECT_TRUE(outer.run([&] { EXPECT_EQ(bound(), 0); }));
  EXPECT_EQ(seen.count(), 0u);
  ASSERT_EQ(sink.records.size(), 1u);
  EXPECT_EQ(sink.records[0].failure.bound, "timer");
  EXPECT_EQ(sink.records[0].failure.domain, "inner");
}

TEST_F(DomainSink, BacksReportsAndInterceptsWithoutAHandler) {
  Domain d("d");
  bool called = false;
  d.intercept([&] { called = true; }, "on_read")(std::make_error_code(std::errc::timed_out));
  d.report(std::make_exception_ptr(1));
  Domain::empty().report(std::make_exception_ptr(2));
  EXPECT_FALSE(called);
  ASSERT_EQ(sink.records.size(), 3u);
  EXPECT_EQ(sink.records[0].failure.bound, "on_read");
  EXPECT_FALSE(sink.records[0].failure.thrown);
  EXPECT_EQ(sink.records[2].failure.domain, "");
}

// D25: the rest of the batch still runs, each callback in its own domain.
TEST_F(DomainSink, RecordsEachErrorOfABatchOnce) {
  std::vector<Domain> domains = {Domain("a"), Domain("b"), Domain("c")};
  std::vector<std::function<void()>> batch;
  for (Domain& d : domains) batch.push_back(d.bind([] { throw_error(); }));
  for (auto& callback : batch) callback();
  ASSERT_EQ(sink.records.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i)
    EXPECT_EQ(sink.records[i].failure.domains, std::vector<std::string>{std::string(domains[i].name())});
}

TEST_F(DomainSink, IsToldTheRequestOfTheDomainOrOfTheNearestAroundIt) {
  Domain server("server");
  Domain request("request");
  Domain part("part");
  for (const Domain& d : {server, request, part}) d.on_error([](const Failure&) {});
  domain::set_request(server, 1);
  domain::set_request(request, 7);
  domain::set_request(Domain::empty(), 9);  // ignored
  server.run([&] { request.run([&] { part.run([] { throw_error(); }); }); });
  domain::set_request(part, 8);
  server.run([&] { request.run([&] { part.run([] { throw_error(); }); }); });
  domain::set_request(part, 0);
  domain::set_request(request, 0);
  server.run([&] { request.run([&] { part.run([] { throw_error(); }); }); });
  domain::set_request(server, 0);
  server.run([&] { request.run([&] { part.run([] { throw_error(); }); }); });
  ASSERT_EQ(sink.records.size(), 4u);
  EXPECT_EQ(sink.records[0].request, 7u);
  EXPECT_EQ(sink.records[1].request, 8u);
  EXPECT_EQ(sink.records[2].request, 1u);
  EXPECT_EQ(sink.records[3].request, 0u);
}

TEST_F(DomainSink, IsToldTheRequestInsideOfTheCapturingDomainWhereThatHasNone) {
  Domain server("server");
  Domain request("request");
  server.on_error([](const Failure&) {});
  domain::set_request(request, 7);
  server.run([&] { request.run([] { throw_error(); }); });
  ASSERT_EQ(sink.records.size(), 1u);
  EXPECT_EQ(sink.records[0].request, 7u);
}

// D29
TEST_F(DomainSink, AmendsTheRecordWhenTheOutermostHandlerFails) {
  Domain d("d");
  domain::set_request(d, 7);
  d.on_error([](const Failure&) { throw std::logic_error("second"); }, Then::serve);
  EXPECT_FALSE(d.run([] { throw_error("first"); }));
  d.bind([] { throw_error("first"); }, "timer")();
  ASSERT_EQ(sink.records.size(), 4u);
  for (std::size_t i : {1u, 3u}) {
    const auto& amended = sink.records[i];
    EXPECT_EQ(amended.failure.kind, Kind::handler);
    EXPECT_EQ(amended.failure.message, "second");
    EXPECT_EQ(amended.failure.domain, "d");
    EXPECT_EQ(amended.then, Then::drain);
    EXPECT_EQ(amended.request, 7u);
    ASSERT_TRUE(amended.failure.original);
    EXPECT_EQ(amended.failure.id, sink.records[i - 1].failure.id);
    ASSERT_EQ(amended.failure.causes.size(), 1u);
    EXPECT_EQ(amended.failure.causes[0].message, "first");
  }
  EXPECT_EQ(sink.records[3].failure.bound, "timer");
  EXPECT_FALSE(Domain::current());
}

TEST_F(DomainSink, AmendsTheRecordWhenTheHandlerOfAReportFails) {
  Domain d("d");
  d.on_error([](const Failure&) { throw std::logic_error("second"); });
  d.report(std::make_exception_ptr(std::runtime_error("first")));
  ASSERT_EQ(sink.records.size(), 2u);
  EXPECT_EQ(sink.records[1].failure.kind, Kind::handler);
  EXPECT_EQ(sink.records[1].failure.original->message, "first");
}

TEST_F(DomainSink, AmendsTheRecordUnderTheFirstRequestWhenAnOuterDomainTakesOver) {
  Domain outer("outer");
  Domain inner("inner");
  Seen seen;
  outer.on_error(seen.handler());
  domain::set_request(inner, 7);
  inner.on_error([](const Failure&) { throw std::logic_error("second"); });
  outer.run([&] { inner.run([] { throw_error("first"); }); });
  ASSERT_EQ(sink.records.size(), 2u);
  EXPECT_EQ(sink.records[1].request, 7u);
  EXPECT_EQ(sink.records[1].failure.id, sink.records[0].failure.id);
  EXPECT_EQ(sink.records[1].failure.domain, "outer");
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_EQ(seen.last().kind, Kind::handler);
}

TEST_F(DomainSink, AnOutermostRunInsideAHandlerIsPartOfTheHandler) {
  Domain d("d");
  Domain helper("helper");
  d.on_error([&](const Failure&) { helper.run([] { throw std::logic_error("second"); }); });
  d.run([] { throw_error("first"); });
  ASSERT_EQ(sink.records.size(), 2u);
  EXPECT_EQ(sink.records[1].failure.kind, Kind::handler);
}

TEST_F(DomainSink, AFailureMadeByHandIsCompletedWithWhereItIsMade) {
  Domain outer("connection");
  Domain d("request");
  domain::set_request(outer, 7);
  d.set("user", "bob");
  Failure failure = failure_of("teapot", "short and stout");
  outer.run([&] { d.run([&] { EXPECT_EQ(domain::complete(failure, __builtin_return_address(0)), 7U); }); });
  EXPECT_EQ(failure.domain, "request");
  EXPECT_EQ(failure.domains, (std::vector<std::string>{"request", "connection"}));
  EXPECT_EQ(failure.context.at(0).second, "bob");
  EXPECT_FALSE(failure.stack.empty());
  failure.domain = "its own";
  domain::complete(failure, nullptr);
  EXPECT_EQ(failure.domain, "its own");
}

TEST_F(DomainSink, MayBeTakenAwayWhileOthersRecord) {
  Domain d;
  d.on_error([](const Failure&) {});
  on_a_thread([&] {
    for (int i = 0; i < 50; ++i) d.run([] { throw_error(); });
  });
  std::thread thrower([&] {
    for (int i = 0; i < 200; ++i) d.run([] { throw_error(); });
  });
  domain::set_sink(nullptr);
  const std::size_t recorded = sink.records.size();  // nobody is writing any more
  thrower.join();
  EXPECT_EQ(sink.records.size(), recorded);
}

TEST(DomainNumber, IsUniqueAndNotZero) {
  EXPECT_EQ(domain::number(Domain::empty()), 0u);
  std::map<std::uint64_t, int> seen;
  std::vector<Domain> domains(1500);
  for (const Domain& d : domains) ++seen[domain::number(d)];
  on_a_thread([&] {
    Domain other;
    ++seen[domain::number(other)];
  });
  EXPECT_EQ(seen.size(), 1501u);
  EXPECT_EQ(seen.count(0), 0u);
}

}  // namespace
}  // namespace refork::test
