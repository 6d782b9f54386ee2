// The API as generic D-Bus clients see it: introspection, properties, the signals of change.
#include <gmock/gmock.h>

#include "bus/snapshot.h"
#include "bus_fixture.h"

namespace refork::bus {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

class ApiTest : public BusTest {
 protected:
  // Two barriers: everything that was said before them has arrived.
  void settle(RawPeer& peer) {
    for (int i = 0; i < 2; ++i) {
      const std::size_t before = peer.errors.size();
      ASSERT_GE(sd_bus_call_method_async(
                    peer.bus(), nullptr, nullptr, "/org/refork1", "org.refork1.Manager", "NoSuchMethod",
                    [](sd_bus_message* m, void* userdata, sd_bus_error*) noexcept {
                      static_cast<RawPeer*>(userdata)->errors.emplace_back(sd_bus_message_get_error(m)->name);
                      return 0;
                    },
                    &peer, ""),
                0);
      ASSERT_TRUE(turn_until([&] { return peer.process(), peer.errors.size() > before; }));
    }
  }
  std::string busctl(const std::string& arguments) {
    const auto [code, output] = command("busctl --no-pager --address=unix:path=" + path_ + " " + arguments);
    EXPECT_EQ(code, 0) << output;
    return output;
  }
  static bool has_busctl() { return ::system("command -v busctl >/dev/null") == 0; }
};

TEST_F(ApiTest, ChangesAreAnnouncedOnceForAWholeTurn) {
  RawPeer peer(path_);
  peer.count("org.freedesktop.DBus.Properties", "PropertiesChanged");
  settle(peer);
  operations_.now.services[0].failures = 13;
  bus_->changed();
  operations_.now.services[0].why = "boot failures";
  bus_->changed();
  settle(peer);
  EXPECT_THAT(peer.signals, ElementsAre(service_path("web-front.1") + " PropertiesChanged"));
}

TEST_F(ApiTest, ChangesInABurstAreAnnouncedTogetherAndTheLastOfThemIs) {
  RawPeer peer(path_);
  peer.count("org.freedesktop.DBus.Properties", "PropertiesChanged");
  settle(peer);
  constexpr int changes = 50;
  const int reads = operations_.status_reads;
  for (int i = 1; i < changes; ++i) {
    ++operations_.now.services[0].failures;
    bus_->changed();
    settle(peer);
  }
  EXPECT_LT(operations_.status_reads, reads + changes / 2);
  const std::size_t told = peer.signals.size();
  operations_.now.services[0].why = "the last";
  bus_->changed();
  ASSERT_TRUE(turn_until([&] { return peer.process(), peer.signals.size() > told; }));
}

TEST_F(ApiTest, WhatDidNotChangeIsNotAnnounced) {
  RawPeer peer(path_);
  peer.count("org.freedesktop.DBus.Properties", "PropertiesChanged");
  settle(peer);
  operations_.now.services[0].workers[1].served += 100;
  bus_->changed();
  settle(peer);
  EXPECT_THAT(peer.signals, ElementsAre());
}

TEST_F(ApiTest, WorkersAppearAndDisappear) {
  RawPeer peer(path_);
  peer.count("org.freedesktop.DBus.ObjectManager", "InterfacesAdded");
  peer.count("org.freedesktop.DBus.ObjectManager", "InterfacesRemoved");
  settle(peer);
  operations_.now.services[0].workers[0].id = 18;
  bus_->changed();
  settle(peer);
  EXPECT_THAT(peer.signals,
              UnorderedElementsAre("/org/refork1 InterfacesRemoved", "/org/refork1 InterfacesAdded"));
}

TEST_F(ApiTest, AFailureIsAnnouncedWithoutItsContents) {
  RawPeer peer(path_);
  std::vector<std::string> heard;
  ASSERT_GE(sd_bus_match_signal(
                peer.bus(), nullptr, nullptr, nullptr, "org.refork1.Manager", "FailureRecorded",
                [](sd_bus_message* m, void* userdata, sd_bus_error*) noexcept {
                  const char *id, *service, *kind, *fingerprint;
                  std::uint32_t slot = 0;
                  if (sd_bus_message_read(m, "ssuss", &id, &service, &slot, &kind, &fingerprint) > 0)
                    *static_cast<std::vector<std::string>*>(userdata) = {id, service, std::to_string(slot),
                                                                         kind, fingerprint};
                  return 0;
                },
                &heard),
            0);
  settle(peer);
  bus_->failure_recorded({"id1", 1, 1000, "web", 3, 17, "exception", "00ff", 1, "{\"message\":\"secret\"}"});
  settle(peer);
  EXPECT_THAT(heard, ElementsAre("id1", "web", "3", "exception", "00ff"));
}

TEST_F(ApiTest, BusctlIntrospectsWithNamesOfArguments) {
  if (!has_busctl()) GTEST_SKIP() << "no busctl";
  const std::string tree = busctl("tree org.refork1");
  EXPECT_THAT(tree, HasSubstr("/org/refork1/worker/17"));
  EXPECT_THAT(tree, HasSubstr(service_path("web-front.1")));
  const std::string manager = busctl("introspect org.refork1 /org/refork1");
  for (const char* name : {".Start", ".ListFailures", ".TopFailures", ".GetFailure", ".Version",
                           ".FailureRecorded", ".GetManagedObjects"})
    EXPECT_THAT(manager, HasSubstr(name));
  EXPECT_THAT(busctl("--xml-interface introspect org.refork1 /org/refork1"), HasSubstr("name=\"filter\""));
}

TEST_F(ApiTest, BusctlReadsAndCalls) {
  if (!has_busctl()) GTEST_SKIP() << "no busctl";
  const std::string service = service_path("web-front.1");
  EXPECT_EQ(busctl("get-property org.refork1 /org/refork1/worker/17 org.refork1.Worker Served"), "t 1200\n");
  operations_.now.services[0].workers[1].served = 1300;
  EXPECT_EQ(busctl("get-property org.refork1 /org/refork1/worker/17 org.refork1.Worker Served"), "t 1300\n")
      << "read fresh";
  EXPECT_EQ(busctl("get-property org.refork1 " + service + " org.refork1.Service EmptySlots"),
            "a(uuts) 1 1 3 1004000 \"exited with 1 before it was ready\"\n");
  busctl("call org.refork1 " + service + " org.refork1.Service Reload b true");
  busctl("call org.refork1 " + service + " org.refork1.Service Scale ub 3 true");
  busctl("call org.refork1 /org/refork1/worker/17 org.refork1.Worker Drain b false");
  busctl("call org.refork1 /org/refork1/worker/17 org.refork1.Worker Send s 1");
  EXPECT_THAT(operations_.calls,
              ElementsAre("reload web-front.1", "scale 3 web-front.1", "drain 17", "send 1 17"));
}

TEST_F(ApiTest, AnUnknownFilterIsRefusedByName) {
  if (!has_busctl()) GTEST_SKIP() << "no busctl";
  const auto [code, output] =
      command("busctl --address=unix:path=" + path_ +
              " call org.refork1 /org/refork1 org.refork1.Manager ListFailures 'a{sv}' 1 x s y");
  EXPECT_NE(code, 0);
  EXPECT_THAT(output, HasSubstr("unknown filter x"));
}

TEST_F(ApiTest, AWorkerThatIsGoneHasNoObject) {
  if (!has_busctl()) GTEST_SKIP() << "no busctl";
  const auto [code, output] =
      command("busctl --address=unix:path=" + path_ +
              " get-property org.refork1 /org/refork1/worker/99 org.refork1.Worker Served");
  EXPECT_NE(code, 0);
  EXPECT_THAT(output, HasSubstr("Unknown object"));
}

}  // namespace
}  // namespace refork::bus
