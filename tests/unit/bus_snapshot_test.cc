#include "bus/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bus_fixture.h"

namespace refork::bus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Snapshot, PathsAndNamesAreEachOthersInverse) {
  for (const char* name : {"web", "web-front.1", "9lives", "ü", "_"})
    EXPECT_EQ(service_of(service_path(name).c_str()), name);
  EXPECT_EQ(worker_of(worker_path(17).c_str()), 17u);
}

TEST(Snapshot, APathThatIsNotOursNamesNobody) {
  for (const char* path : {"/org/refork1/worker", "/org/refork1/worker/", "/org/refork1/worker/017",
                           "/org/refork1/worker/1_2", "/org/refork1/worker/99999999999999999999", "/"}) {
    EXPECT_EQ(worker_of(path), 0u) << path;
    EXPECT_EQ(service_of(path), "") << path;
  }
}

TEST(Snapshot, EqualStatesHaveNoDifference) {
  const Snapshot before(two_services()), after(two_services());
  const auto found = difference(before, after);
  EXPECT_THAT(found.changed, IsEmpty());
  EXPECT_THAT(found.added, IsEmpty());
  EXPECT_THAT(found.removed, IsEmpty());
}

TEST(Snapshot, OnlyThePropertiesThatDifferAreNamed) {
  auto status = two_services();
  const Snapshot before(status);
  status.services[0].failures = 13;
  status.services[0].state = core::ServiceState::degraded;
  const auto found = difference(before, Snapshot(status));
  ASSERT_EQ(found.changed.size(), 1u);
  EXPECT_EQ(found.changed[0].path, service_path("web-front.1"));
  EXPECT_THAT(found.changed[0].properties,
              ElementsAre(::testing::StrEq("State"), ::testing::StrEq("Failures")));
}

TEST(Snapshot, WhatChangesAllTheTimeIsNotAnnounced) {
  auto status = two_services();
  const Snapshot before(status);
  auto& worker = status.services[0].workers[1];
  worker.in_flight += 1;
  worker.served += 1;
  worker.rss_bytes += 1;
  status.rss_bytes += 1;
  EXPECT_THAT(difference(before, Snapshot(status)).changed, IsEmpty());
}

TEST(Snapshot, WorkersComeAndGo) {
  auto status = two_services();
  const Snapshot before(status);
  status.services[0].workers[0].id = 18;
  const auto found = difference(before, Snapshot(status));
  ASSERT_EQ(found.added.size(), 1u);
  EXPECT_EQ(found.added[0].path, worker_path(18));
  ASSERT_EQ(found.removed.size(), 1u);
  EXPECT_EQ(found.removed[0].path, worker_path(12));
}

TEST(Snapshot, AnEmptySlotIsAPropertyOfItsService) {
  auto status = two_services();
  const Snapshot before(status);
  status.services[0].workers[2].next_start_ms += 1;
  const auto found = difference(before, Snapshot(status));
  ASSERT_EQ(found.changed.size(), 1u);
  EXPECT_THAT(found.changed[0].properties, ElementsAre(::testing::StrEq("EmptySlots")));
}

}  // namespace
}  // namespace refork::bus
