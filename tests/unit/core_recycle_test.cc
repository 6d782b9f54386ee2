// Workers replaced without a failure: by what they have served, by their age, by their memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/core_scene.h"

namespace refork::core {
namespace {

// The scene's random number is 0: the limits of its workers are nine tenths of the service's.
ServiceConfig recycling(std::uint32_t workers) {
  auto config = Scene::workers(workers);
  config.recycle = {1000, Millis(100'000), std::uint64_t{100} << 20};
  return config;
}

void use(Scene& scene, WorkerId id, Usage usage) { scene.service.on_usage(id, usage, scene.now, scene.out); }

TEST(Recycle, AfterSoManyRequests) {
  Scene scene(recycling(2));
  scene.up();
  use(scene, 1, {899, 0});
  EXPECT_EQ(scene.count<OrderDrain>(), 0u);
  use(scene, 1, {900, 0});
  ASSERT_EQ(scene.count<OrderDrain>(), 1u);
  EXPECT_EQ(scene.all<OrderDrain>()[0].reason, DrainReason::recycle);
  EXPECT_EQ(scene.all<Announce>()[0].type.name(), "worker-recycled");
  EXPECT_EQ(scene.all<Announce>()[0].text, "it has served 900 requests; its own limit is 900, of 1000");
  scene.leave(1, 0);
  EXPECT_EQ(scene.all<Ended>().at(0).requested, "recycle");
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "clean");
  EXPECT_EQ(scene.count<Report>(), 0u);
}

TEST(Recycle, ForItsMemory) {
  Scene scene(recycling(2));
  scene.up();
  use(scene, 1, {0, (std::uint64_t{90} << 20) - 1});
  EXPECT_EQ(scene.count<OrderDrain>(), 0u);
  use(scene, 1, {0, std::uint64_t{90} << 20});
  EXPECT_EQ(scene.count<OrderDrain>(), 1u);
  EXPECT_EQ(scene.all<Announce>()[0].text, "it has 90 MB of memory; its own limit is 90 MB, of 100 MB");
}

TEST(Recycle, ForItsAgeWithoutBeingAsked) {
  Scene scene(recycling(1));
  scene.up();
  scene.pass(Millis(89'999));
  EXPECT_EQ(scene.count<Spawn>(), 0u);
  scene.pass(Millis(1));
  EXPECT_EQ(scene.count<Spawn>(), 1u) << "the floor is kept: the replacement first";
  EXPECT_EQ(scene.all<Announce>()[0].text, "it is 1m30s old; its own limit is 1m30s, of 1m40s");
  EXPECT_EQ(scene.count<OrderDrain>(), 0u);
  scene.ready(2);
  EXPECT_EQ(scene.count<OrderDrain>(), 1u);
}

TEST(Recycle, NeverTwoAtOnceAndTheOldestFirst) {
  Scene scene(recycling(3));
  scene.up();
  use(scene, 2, {900, 0});
  scene.pass(Millis(10));
  use(scene, 3, {900, 0});
  scene.pass(Millis(10));
  use(scene, 1, {900, 0});
  EXPECT_EQ(scene.count<OrderDrain>(), 1u);
  scene.leave(2, 0);
  EXPECT_EQ(scene.count<OrderDrain>(), 1u) << "its replacement does not serve yet";
  scene.ready(4);
  ASSERT_EQ(scene.count<OrderDrain>(), 2u);
  EXPECT_EQ(scene.all<OrderDrain>()[1].worker, 3u);
  scene.ready(5);
  EXPECT_EQ(scene.count<OrderDrain>(), 2u) << "it is not gone yet";
  scene.leave(3, 0);
  ASSERT_EQ(scene.count<OrderDrain>(), 3u);
  EXPECT_EQ(scene.all<OrderDrain>()[2].worker, 1u);
}

TEST(Recycle, WaitsForAReloadAndIsOverThen) {
  Scene scene(recycling(1));
  scene.up();
  scene.keep(scene.service.reload(scene.now, scene.out));
  use(scene, 1, {900, 0});
  scene.ready(2);
  scene.pass(Millis(2000));
  ASSERT_EQ(scene.count<OrderDrain>(), 1u);
  EXPECT_EQ(scene.all<OrderDrain>()[0].reason, DrainReason::reload);
}

TEST(Recycle, DrawsNothingFromTheBudget) {
  auto config = recycling(2);
  config.restart.budget = 1;
  Scene scene(config);
  scene.up();
  use(scene, 1, {900, 0});
  scene.fail(2);
  EXPECT_EQ(scene.all<GiveVerdict>().at(0).verdict, proto::Verdict::serve) << "that is the floor";
  scene.ready(3);
  EXPECT_EQ(scene.count<OrderDrain>(), 2u);
  EXPECT_NE(scene.service.state(), ServiceState::storm);
}

TEST(Recycle, NobodyWhereNobodyIsReplaced) {
  auto config = recycling(2);
  config.restart.policy = RestartPolicy::never;
  Scene scene(config);
  scene.up();
  use(scene, 1, {900, 0});
  scene.pass(Millis(200'000));
  EXPECT_EQ(scene.count<OrderDrain>(), 0u);
}

TEST(Recycle, EachWorkerHasLimitsOfItsOwn) {
  double random = 0;
  WorkerId last = 0;
  auto config = recycling(2);
  config.name = "web";
  Service service(
      config, [&last] { return ++last; }, [&random] { return std::exchange(random, 0.999); });
  Effects out;
  const Time now{std::chrono::hours(1)};
  ASSERT_TRUE(service.start(now, out));
  EXPECT_DOUBLE_EQ(service.workers().at(1).recycle_factor, 0.9);
  EXPECT_NEAR(service.workers().at(2).recycle_factor, 1.1, 0.001);
  service.on_ready(1, now, out);
  service.on_ready(2, now, out);
  EXPECT_EQ(service.next(), now + Millis(90'000));
}

}  // namespace
}  // namespace refork::core
