// Replacement on the message: verdicts, floor, budget and drain cap.
#include <gtest/gtest.h>

#include "unit/core_scene.h"

namespace refork::core {
namespace {

using proto::Verdict;

TEST(Replacing, FailureGetsADrainVerdictAndAReplacementInTheSameTurn) {
  Scene scene(Scene::workers(4));
  scene.up().fail(2);
  ASSERT_EQ(scene.count<GiveVerdict>(), 1u);
  EXPECT_EQ(scene.all<GiveVerdict>()[0].verdict, Verdict::drain);
  EXPECT_EQ(scene.all<GiveVerdict>()[0].deadline, Millis(30000));
  EXPECT_EQ(scene.all<GiveVerdict>()[0].failure, "f2");
  ASSERT_EQ(scene.count<Spawn>(), 1u);
  EXPECT_EQ(scene.all<Spawn>()[0].slot, 1u);
  EXPECT_EQ(scene.worker(2).state, WorkerState::draining);
  EXPECT_EQ(scene.worker(5).state, WorkerState::starting);
}

TEST(Replacing, TheLastAcceptingWorkerServesTaintedUntilItsReplacementIsReady) {
  Scene scene;
  scene.up().fail(1);
  EXPECT_EQ(scene.all<GiveVerdict>().at(0).verdict, Verdict::serve);
  EXPECT_EQ(scene.worker(1).state, WorkerState::serving);
  EXPECT_TRUE(scene.worker(1).tainted);
  ASSERT_EQ(scene.count<Spawn>(), 1u);
  scene.out.clear();
  scene.ready(2);
  ASSERT_EQ(scene.count<OrderDrain>(), 1u);
  EXPECT_EQ(scene.all<OrderDrain>()[0].worker, 1u);
  EXPECT_EQ(scene.all<OrderDrain>()[0].reason, DrainReason::error);
  EXPECT_EQ(scene.worker(1).state, WorkerState::draining);
  EXPECT_EQ(scene.count<Spawn>(), 0u);
}

TEST(Replacing, FloorOfZeroDrainsTheLastWorkerAtOnce) {
  auto config = Scene::workers(1);
  config.floor = 0;
  Scene scene(config);
  scene.up().fail(1);
  EXPECT_EQ(scene.all<GiveVerdict>().at(0).verdict, Verdict::drain);
}

TEST(Replacing, MoreFailuresOfATaintedWorkerGetVerdictsButNoSecondReplacement) {
  Scene scene;
  scene.up().fail(1);
  scene.fail(1);
  scene.fail(1);
  EXPECT_EQ(scene.count<GiveVerdict>(), 3u);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
}

TEST(Replacing, EmptyBudgetIsAStormInWhichTaintedWorkersServeAndRotateAtTheBucketsPace) {
  auto config = Scene::workers(4);
  config.restart.budget = 2;
  config.restart.budget_window = Millis(10000);
  Scene scene(config);
  scene.up();
  for (WorkerId id = 1; id <= 4; ++id) scene.fail(id);
  EXPECT_EQ(scene.service.state(), ServiceState::storm);
  EXPECT_EQ(scene.worker(1).state, WorkerState::draining);
  EXPECT_EQ(scene.worker(2).state, WorkerState::draining);
  EXPECT_EQ(scene.worker(3).state, WorkerState::serving);
  EXPECT_EQ(scene.worker(4).state, WorkerState::serving);
  scene.ready(5);
  scene.ready(6);
  scene.leave(1, 1);
  scene.leave(2, 1);
  scene.pass(Millis(5100));
  EXPECT_EQ(scene.worker(3).state, WorkerState::draining);
  EXPECT_EQ(scene.worker(4).state, WorkerState::serving);
  scene.pass(Millis(5100));
  EXPECT_EQ(scene.worker(4).state, WorkerState::draining);
  EXPECT_NE(scene.service.state(), ServiceState::storm);
}

TEST(Replacing, NothingIsDueAnyMoreOnceAServiceInAStormIsStopped) {
  auto config = Scene::workers(1);
  config.restart.budget = 1;
  Scene scene(config);
  scene.up().fail(1);
  scene.ready(2);
  scene.leave(1, 1);
  scene.fail(2);
  ASSERT_EQ(scene.service.state(), ServiceState::storm);
  scene.keep(scene.service.stop(scene.now, scene.out));
  scene.leave(2, 0);
  EXPECT_EQ(scene.service.next(), std::nullopt);
}

TEST(Replacing, AStormNeverTakesTheServiceBelowItsFloor) {
  auto config = Scene::workers(2);
  config.restart.budget = 3;
  Scene scene(config);
  scene.up();
  for (int round = 0; round < 200; ++round) {
    std::vector<WorkerId> all;
    for (const auto& [id, worker] : scene.service.workers()) all.push_back(id);
    for (const auto id : all) {
      if (scene.gone(id)) continue;
      if (accepts(scene.worker(id).state))
        scene.fail(id);
      else if (scene.worker(id).state == WorkerState::starting)
        scene.ready(id);
      else
        scene.leave(id, 1);
      ASSERT_GE(scene.serving(), 1u);
    }
    scene.pass(Millis(100));
  }
}

TEST(Replacing, AtMostAsManyDrainsAtOnceAsTheServiceHasWorkers) {
  auto config = Scene::workers(2);
  config.floor = 0;
  Scene scene(config);
  scene.up().fail(1);
  scene.fail(2);
  scene.ready(3);
  scene.ready(4);
  scene.out.clear();
  scene.fail(3);
  EXPECT_EQ(scene.all<GiveVerdict>().at(0).verdict, Verdict::serve);
  scene.leave(1, 1);
  EXPECT_EQ(scene.worker(3).state, WorkerState::draining);
}

TEST(Replacing, FailureThatItsAuthorServesOnNeedsNoVerdict) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.service.on_failure(1, "f", Then::serve, scene.now, scene.out);
  EXPECT_TRUE(scene.out.empty());
  EXPECT_FALSE(scene.worker(1).tainted);
}

TEST(Replacing, SecondErrorInADrainChangesNeitherDeadlineNorReplacement) {
  Scene scene(Scene::workers(2));
  scene.up().fail(1);
  const auto deadline = scene.worker(1).deadline;
  scene.pass(Millis(1000));
  scene.out.clear();
  scene.fail(1);
  EXPECT_EQ(scene.worker(1).deadline, deadline);
  EXPECT_EQ(scene.all<GiveVerdict>().at(0).deadline, Millis(29000));
  EXPECT_EQ(scene.count<Spawn>(), 0u);
}

TEST(Replacing, DrainThatTheWorkerBeganItselfIsReplacedAtOnce) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.service.on_drain_begun(1, DrainReason::operator_, scene.now, scene.out);
  EXPECT_EQ(scene.worker(1).state, WorkerState::draining);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  EXPECT_EQ(scene.count<OrderDrain>(), 0u);
}

TEST(Replacing, PolicyNeverDrainsWithoutAReplacement) {
  auto config = Scene::workers(1);
  config.restart.policy = RestartPolicy::never;
  Scene scene(config);
  scene.up().fail(1);
  EXPECT_EQ(scene.all<GiveVerdict>().at(0).verdict, Verdict::drain);
  scene.leave(1, 1);
  scene.pass(Millis(60000));
  EXPECT_EQ(scene.count<Spawn>(), 0u);
  EXPECT_EQ(scene.service.state(), ServiceState::stopped);
}

}  // namespace
}  // namespace refork::core
