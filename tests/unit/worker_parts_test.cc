// The parts of the Worker that need no process: the table of its life, the counting of identical failures,
// records.

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gnu/libc-version.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fingerprint.h"
#include "proto/stack.h"
#include "worker/aggregator.h"
#include "worker/environment.h"
#include "worker/failure_record.h"
#include "worker/frames.h"
#include "worker/life.h"
#include "worker/link.h"

namespace refork::worker {
namespace {

using std::chrono::milliseconds;

TEST(Life, AFailurePausesOnlyOneThatRuns) {
  EXPECT_EQ(next(Life::running, LifeEvent::failure), Life::paused);
  EXPECT_EQ(next(Life::paused, LifeEvent::failure), Life::paused);
  EXPECT_EQ(next(Life::tainted, LifeEvent::failure), Life::tainted);
  EXPECT_EQ(next(Life::draining, LifeEvent::failure), Life::draining);
}

TEST(Life, OnlyAPausedWorkerListensToTheVerdictServe) {
  for (const auto event : {LifeEvent::serve, LifeEvent::silence}) {
    EXPECT_EQ(next(Life::running, event), Life::running);
    EXPECT_EQ(next(Life::paused, event), Life::tainted);
    EXPECT_EQ(next(Life::draining, event), Life::draining);
  }
}

TEST(Life, NothingLeadsBackFromADrain) {
  for (std::size_t i = 0; i < base::enum_count<LifeEvent>; ++i) {
    const auto event = static_cast<LifeEvent>(i);
    EXPECT_EQ(next(Life::draining, event), event == LifeEvent::finish ? Life::finished : Life::draining);
    EXPECT_EQ(next(Life::finished, event), Life::finished);
  }
}

TEST(Life, EveryStateDrainsAndFinishes) {
  for (const auto life : {Life::running, Life::paused, Life::tainted, Life::draining}) {
    EXPECT_EQ(next(life, LifeEvent::drain), Life::draining);
    EXPECT_EQ(next(life, LifeEvent::finish), Life::finished);
  }
}

proto::FailureRecord record(const std::string& id) {
  proto::FailureRecord record;
  record.id = id;
  return record;
}

class AggregatorTest : public ::testing::Test {
 protected:
  bool admit(std::uint64_t fingerprint, const std::string& id = "x") {
    auto one = record(id);
    const bool admitted = aggregator.admit(fingerprint, one, now);
    last_id = one.id;
    return admitted;
  }
  Aggregator aggregator;
  Aggregator::Clock::time_point now{std::chrono::hours(1)};
  std::string last_id;
};

TEST_F(AggregatorTest, LetsFiftyPassAndCountsTheRest) {
  for (std::uint64_t i = 0; i < Aggregator::max_single; ++i) EXPECT_TRUE(admit(7));
  EXPECT_FALSE(aggregator.due());
  EXPECT_FALSE(admit(7, "first"));
  EXPECT_FALSE(admit(7, "second"));
  EXPECT_EQ(last_id, "first");
  ASSERT_EQ(aggregator.due(), now + Aggregator::window);
  EXPECT_TRUE(aggregator.flush(now + Aggregator::window - milliseconds(1)).empty());
  const auto flushed = aggregator.flush(now + Aggregator::window);
  ASSERT_EQ(flushed.size(), 1u);
  EXPECT_EQ(flushed[0].id, "first");
  EXPECT_EQ(flushed[0].count, 2u);
  EXPECT_FALSE(aggregator.due());
}

TEST_F(AggregatorTest, BeginsAnewWithTheNextSecond) {
  for (std::uint64_t i = 0; i < Aggregator::max_single; ++i) admit(7);
  now += Aggregator::window;
  EXPECT_TRUE(admit(7));
}

TEST_F(AggregatorTest, CountsEachFingerprintByItself) {
  for (std::uint64_t i = 0; i <= Aggregator::max_single; ++i) admit(7);
  EXPECT_TRUE(admit(8));
}

TEST_F(AggregatorTest, AnAmendmentReplacesWhatWaitsAndKeepsItsCount) {
  for (std::uint64_t i = 0; i < Aggregator::max_single + 3; ++i) admit(7, "id" + std::to_string(i));
  auto amendment = record(last_id);
  amendment.kind = Kind::handler;
  EXPECT_TRUE(aggregator.amend(amendment));
  auto other = record("another");
  EXPECT_FALSE(aggregator.amend(other));
  const auto flushed = aggregator.close();
  ASSERT_EQ(flushed.size(), 1u);
  EXPECT_EQ(flushed[0].kind, Kind::handler);
  EXPECT_EQ(flushed[0].count, 3u);
}

TEST_F(AggregatorTest, AnAmendmentOfWhatHasLeftHasItsCount) {
  for (std::uint64_t i = 0; i < Aggregator::max_single + 3; ++i) admit(7, "id" + std::to_string(i));
  aggregator.flush(now + Aggregator::window);
  auto amendment = record(last_id);
  EXPECT_FALSE(aggregator.amend(amendment));
  EXPECT_EQ(amendment.count, 3u);
  auto single = record("id0");
  EXPECT_FALSE(aggregator.amend(single));
  EXPECT_EQ(single.count, 1u);
}

TEST_F(AggregatorTest, RemembersABoundedNumberOfThoseThatLeft) {
  const auto leave = [this](std::uint64_t fingerprint, const std::string& id) {
    for (std::uint64_t i = 0; i < Aggregator::max_single; ++i) admit(fingerprint);
    admit(fingerprint, id);
    admit(fingerprint, id);
    aggregator.flush(now += Aggregator::window);
  };
  const auto count_of = [this](const std::string& id) {
    auto amendment = record(id);
    aggregator.amend(amendment);
    return amendment.count;
  };
  for (std::size_t i = 0; i < Aggregator::max_flushed; ++i) leave(i, "id" + std::to_string(i));
  EXPECT_EQ(count_of("id0"), 2u);
  leave(0, "one more");
  EXPECT_EQ(count_of("id0"), 1u);
  EXPECT_EQ(count_of("id1"), 2u);
}

TEST_F(AggregatorTest, WhatFoundNoPlaceWaitsWithTheCounted) {
  admit(7, "a");
  auto first = record("b"), second = record("c");
  EXPECT_TRUE(aggregator.postpone(7, first, now));
  second.count = 5;
  EXPECT_TRUE(aggregator.postpone(7, second, now));
  EXPECT_EQ(second.id, "b");
  now += Aggregator::window;
  ASSERT_EQ(aggregator.due(), now);
  auto flushed = aggregator.flush(now);
  ASSERT_EQ(flushed.size(), 1u);
  EXPECT_EQ(flushed[0].count, 6u);
  EXPECT_TRUE(aggregator.postpone(7, flushed[0], now)) << "no place once more";
  EXPECT_EQ(aggregator.due(), now + Aggregator::window);
}

TEST_F(AggregatorTest, OnceClosedNothingIsKept) {
  for (std::uint64_t i = 0; i < Aggregator::max_single + 3; ++i) admit(7);
  EXPECT_EQ(aggregator.close().size(), 1u);
  for (std::uint64_t i = 0; i < 2 * Aggregator::max_single; ++i) EXPECT_TRUE(admit(7));
  auto late = record("late");
  EXPECT_FALSE(aggregator.postpone(7, late, now));
  EXPECT_FALSE(aggregator.due());
}

TEST_F(AggregatorTest, RemembersABoundedNumberOfFingerprints) {
  for (std::uint64_t i = 0; i < Aggregator::max_kinds; ++i) admit(i);
  for (std::uint64_t i = 0; i < 2 * Aggregator::max_single; ++i) EXPECT_TRUE(admit(Aggregator::max_kinds));
  now += Aggregator::window;  // the old ones are forgotten
  for (std::uint64_t i = 0; i < Aggregator::max_single; ++i) EXPECT_TRUE(admit(Aggregator::max_kinds));
  EXPECT_FALSE(admit(Aggregator::max_kinds));
}

TEST(BuildIds, AreReadFromMemoryOncePerModule) {
  const void* here = __builtin_return_address(0);
  void* const libc = reinterpret_cast<char*>(reinterpret_cast<void*>(&::gnu_get_libc_version)) + 1;
  const auto ids = build_ids({const_cast<void*>(here), const_cast<void*>(here), libc, nullptr});
  ASSERT_EQ(ids.size(), 2u);
  EXPECT_EQ(ids[0].first, describe_frame(here).module);
  EXPECT_NE(ids[1].first.find("libc.so"), std::string::npos);
  for (const auto& [module, id] : ids) EXPECT_TRUE(proto::is_build_id(id)) << module;
}

TEST(RecordId, SortsByTimeAndNeverComesTwice) {
  const auto first = make_record_id(1'700'000'000'000), second = make_record_id(1'700'000'000'000);
  EXPECT_NE(first, second);
  EXPECT_LT(second, make_record_id(1'700'000'000'001));
  EXPECT_EQ(first.substr(0, 11), "18bcfe56800");
}

proto::Frame frame(const std::string& module, std::uint64_t offset, bool in_app) {
  proto::Frame frame;
  frame.module = module;
  frame.offset = offset;
  frame.in_app = in_app;
  return frame;
}

TEST(Fingerprint, IsOfTheTypeAndTheApplicationsOwnFrames) {
  const std::vector<proto::Frame> stack = {frame("/lib/libstdc++.so.6", 1, false),
                                           frame("/srv/app", 2, true)};
  const auto same = fingerprint("std::runtime_error", stack);
  EXPECT_EQ(same, fingerprint("std::runtime_error",
                              {frame("/lib/other.so", 9, false), frame("/opt/app", 2, true)}));
  EXPECT_NE(same, fingerprint("std::runtime_error", {frame("/srv/app", 3, true)}));
  EXPECT_NE(same, fingerprint("std::logic_error", stack));
  EXPECT_EQ(base::to_hex(0xabc), "0000000000000abc");
}

TEST(Record, HasTheOriginalOfAFailingHandlerAmongItsCausesOnce) {
  Failure original;
  original.type = "a";
  original.message = "first";
  original.id = "id";
  Failure failure;
  failure.kind = Kind::handler;
  failure.type = "b";
  failure.causes = {{"a", "first"}};
  failure.original = std::make_shared<const Failure>(original);
  const auto made = make_record(failure, Then::drain);
  EXPECT_EQ(made.id, "id");
  EXPECT_EQ(made.revision, 2u);
  EXPECT_EQ(made.causes.size(), 1u);
}

TEST(Record, OfAHandlerWhoseErrorWasNeverRecordedIsOneOfItsOwn) {
  Failure failure;
  failure.kind = Kind::handler;
  failure.original = std::make_shared<const Failure>();
  const auto made = make_record(failure, Then::drain);
  EXPECT_EQ(made.revision, 1u);
  EXPECT_FALSE(made.id.empty());
}

TEST(Record, ThatNeedsNoMemoryIsARecordLikeAnyOther) {
  Failure failure;
  failure.type = "quoted \" type";
  MinimalRecord minimal;
  make_minimal_record(minimal, failure);
  auto decoded = proto::decode_record({minimal.json, minimal.length});
  ASSERT_TRUE(decoded) << decoded.error().what;
  EXPECT_EQ(decoded->id, minimal.id);
  EXPECT_EQ(decoded->type, "unknown");
  failure.type = std::string(5000, 'x');
  make_minimal_record(minimal, failure);
  EXPECT_TRUE(proto::decode_record({minimal.json, minimal.length}));
}

__attribute__((noinline)) void* return_address() { return __builtin_return_address(0); }

TEST(Frames, AreModuleAndOffsetAndTellTheApplicationsOwn) {
  const auto own = describe_frame(return_address());
  EXPECT_THAT(own.module, ::testing::EndsWith("worker_parts_test"));
  EXPECT_TRUE(own.in_app);
  EXPECT_GT(own.offset, 0u);
  const auto system =
      describe_frame(reinterpret_cast<const char*>(dlsym(RTLD_DEFAULT, "gnu_get_libc_version")) + 1);
  EXPECT_THAT(system.module, ::testing::HasSubstr("libc.so"));
  EXPECT_EQ(system.function, "gnu_get_libc_version");
  EXPECT_FALSE(system.in_app);
  EXPECT_FALSE(describe_frame(nullptr).in_app);
  EXPECT_TRUE(describe_frame(reinterpret_cast<void*>(8)).module.empty());
  EXPECT_FALSE(describe_frame(reinterpret_cast<void*>(8)).in_app);
}

TEST(Frames, KnowTheSystemsOwnLibraries) {
  EXPECT_TRUE(proto::is_system_path("/lib/x86_64-linux-gnu/libc.so.6"));
  EXPECT_TRUE(proto::is_system_path("/usr/lib/libfoo.so"));
  EXPECT_TRUE(proto::is_system_path("linux-vdso.so.1"));
  EXPECT_FALSE(proto::is_system_path("/usr/local/lib/libfoo.so"));
  EXPECT_FALSE(proto::is_system_path("/srv/app/libfoo.so"));
}

TEST(Link, KeepsWhatFindsNoRoomInOrderAndABoundedNumberOfIt) {
  auto pair = proto::Channel::make_pair();
  ASSERT_TRUE(pair);
  Link link(std::move(pair->worker));
  proto::Channel primary(std::move(pair->primary));
  std::uint64_t sent = 0;
  while (!link.pending()) link.post(proto::FailureNote{std::to_string(++sent), Then::drain});
  const std::uint64_t kept = sent - 1 + Link::max_pending;
  while (sent < kept + 10) link.post(proto::FailureNote{std::to_string(++sent), Then::drain});
  EXPECT_FALSE(link.offer(proto::AppMessage{"1"}));
  std::uint64_t received = 0;
  for (;;) {
    auto next = primary.receive();
    if (std::holds_alternative<proto::Channel::Empty>(next) && !link.pending()) break;
    if (auto* message = std::get_if<proto::Message>(&next))
      EXPECT_EQ(std::get<proto::FailureNote>(*message).id, std::to_string(++received));
    else
      link.flush();
  }
  EXPECT_EQ(received, kept);
  EXPECT_TRUE(link.offer(proto::AppMessage{"1"}));
}

TEST(Link, KnowsThatItsPeerIsGone) {
  auto pair = proto::Channel::make_pair();
  ASSERT_TRUE(pair);
  Link link(std::move(pair->worker));
  pair->primary.reset();
  EXPECT_FALSE(link.offer(proto::AppMessage{"1"}));
  link.post(proto::Ready{});
  EXPECT_FALSE(link.pending());
}

base::UniqueFd bound(const sockaddr* address, socklen_t size) {
  base::UniqueFd fd(socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(bind(fd.get(), address, size), 0);
  return fd;
}

TEST(Environment, WritesAddressesAsTheConfigurationDoes) {
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_addr = in6addr_loopback;
  const auto tcp = bound(reinterpret_cast<const sockaddr*>(&six), sizeof six);
  EXPECT_THAT(address_of(tcp.get()), ::testing::StartsWith("tcp://[::1]:"));
  sockaddr_un abstract{};
  abstract.sun_family = AF_UNIX;
  const std::string name = "refork-test-" + std::to_string(getpid());
  name.copy(abstract.sun_path + 1, sizeof abstract.sun_path - 2);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  const auto local = bound(reinterpret_cast<const sockaddr*>(&abstract), size);
  EXPECT_EQ(address_of(local.get()), "unix:@" + name);
  EXPECT_EQ(address_of(STDIN_FILENO), "");
}

}  // namespace
}  // namespace refork::worker
