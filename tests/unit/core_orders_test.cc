// What operators ask for: start, stop, reload, scale, drain; each job ends exactly once.
#include <gtest/gtest.h>

#include <csignal>

#include "unit/core_scene.h"

namespace refork::core {
namespace {

bool succeeded(const Scene& scene, JobId job) {
  for (const auto& done : scene.all<JobDone>())
    if (done.job == job) return done.result.ok();
  return false;
}

std::string failed(const Scene& scene, JobId job) {
  for (const auto& done : scene.all<JobDone>())
    if (done.job == job && !done.result.ok()) return done.result.error().what;
  return "";
}

TEST(Orders, StartIsDoneWhenEverySlotServes) {
  Scene scene(Scene::workers(2));
  const auto job = scene.keep(scene.service.start(scene.now, scene.out));
  scene.ready(1);
  EXPECT_FALSE(succeeded(scene, job));
  EXPECT_EQ(scene.service.state(), ServiceState::starting);
  scene.ready(2);
  EXPECT_TRUE(succeeded(scene, job));
  EXPECT_EQ(scene.service.state(), ServiceState::running);
}

TEST(Orders, StartFailsWithTheReasonOfTheBootFailure) {
  Scene scene;
  const auto job = scene.keep(scene.service.start(scene.now, scene.out));
  scene.service.on_exit(1, {{}, {}, false, "exec /bin/web: No such file or directory"}, scene.now, scene.out);
  EXPECT_EQ(failed(scene, job),
            "web/0 failed to start: exec /bin/web: No such file or directory; reforkd "
            "goes on trying");
}

TEST(Orders, StopDrainsAllAndStartsNothing) {
  Scene scene(Scene::workers(2));
  scene.up();
  const auto job = scene.keep(scene.service.stop(scene.now, scene.out));
  EXPECT_EQ(scene.count<OrderDrain>(), 2u);
  EXPECT_EQ(scene.service.state(), ServiceState::stopping);
  scene.leave(1, 0);
  EXPECT_FALSE(succeeded(scene, job));
  scene.leave(2, 0);
  EXPECT_TRUE(succeeded(scene, job));
  EXPECT_EQ(scene.count<Spawn>(), 0u);
  EXPECT_EQ(scene.service.state(), ServiceState::stopped);
}

TEST(Orders, StopOfAStartingWorkerEndsItBySignal) {
  Scene scene;
  const auto start = scene.keep(scene.service.start(scene.now, scene.out));
  const auto stop = scene.keep(scene.service.stop(scene.now, scene.out));
  EXPECT_EQ(failed(scene, start), "overtaken by a stop");
  EXPECT_EQ(scene.count<Terminate>(), 1u);
  scene.die(1, SIGTERM);
  EXPECT_TRUE(succeeded(scene, stop));
  EXPECT_EQ(scene.count<Report>(), 0u);
}

TEST(Orders, StopWithNoneLeftIsDoneAtOnceAndTwiceIsHarmless) {
  Scene scene;
  const auto first = scene.keep(scene.service.stop(scene.now, scene.out));
  const auto second = scene.keep(scene.service.stop(scene.now, scene.out));
  EXPECT_TRUE(succeeded(scene, first));
  EXPECT_TRUE(succeeded(scene, second));
}

TEST(Orders, StopIsDoneOnlyWhenTheLastOfAllIsGone) {
  Scene scene(Scene::workers(3));
  scene.up();
  const auto first = scene.keep(scene.service.stop(scene.now, scene.out));
  const auto second = scene.keep(scene.service.stop(scene.now, scene.out));
  scene.leave(1, 0);
  scene.leave(2, 0);
  EXPECT_EQ(scene.count<JobDone>(), 0u);
  scene.leave(3, 0);
  EXPECT_TRUE(succeeded(scene, first));
  EXPECT_TRUE(succeeded(scene, second));
}

TEST(Orders, ReloadProbesTheFirstAndThenGoesSlotBySlot) {
  Scene scene(Scene::workers(2));
  scene.up();
  const auto job = scene.keep(scene.service.reload(scene.now, scene.out));
  EXPECT_EQ(scene.service.state(), ServiceState::reloading);
  ASSERT_EQ(scene.count<Spawn>(), 1u);
  EXPECT_EQ(scene.all<Spawn>()[0].generation, 2u);
  scene.ready(3);
  EXPECT_EQ(scene.count<OrderDrain>(), 0u) << "in probation";
  scene.pass(Millis(2000));
  ASSERT_EQ(scene.count<OrderDrain>(), 1u);
  EXPECT_EQ(scene.all<OrderDrain>()[0].worker, 1u);
  EXPECT_EQ(scene.all<OrderDrain>()[0].reason, DrainReason::reload);
  ASSERT_EQ(scene.count<Spawn>(), 2u);
  EXPECT_EQ(scene.worker(2).state, WorkerState::serving) << "until its own successor is ready";
  scene.ready(4);
  EXPECT_EQ(scene.worker(2).state, WorkerState::draining);
  EXPECT_TRUE(succeeded(scene, job));
  EXPECT_EQ(scene.service.generation(), 2u);
}

TEST(Orders, NewGenerationThatDoesNotBootLeavesTheOldOneServing) {
  Scene scene(Scene::workers(2));
  scene.up();
  const auto job = scene.keep(scene.service.reload(scene.now, scene.out));
  scene.exit(3, 1);
  EXPECT_EQ(
      failed(scene, job),
      "generation 2 failed in slot 0: exited with code 1 before it was ready; the old workers serve on");
  EXPECT_EQ(scene.service.generation(), 1u);
  EXPECT_EQ(scene.serving(), 2u);
  EXPECT_EQ(scene.count<OrderDrain>(), 0u);
  scene.pass(Millis(60000));
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  EXPECT_EQ(scene.service.state(), ServiceState::running);
}

TEST(Orders, NewGenerationThatDiesInItsProbationIsNotTaken) {
  Scene scene(Scene::workers(2));
  scene.up();
  const auto job = scene.keep(scene.service.reload(scene.now, scene.out));
  scene.ready(3);
  scene.pass(Millis(1999));
  scene.die(3, SIGSEGV);
  EXPECT_NE(failed(scene, job), "");
  EXPECT_EQ(scene.service.slots()[0].current, 1u);
  EXPECT_EQ(scene.serving(), 2u);
}

TEST(Orders, NewGenerationThatIsDrainedInItsProbationLeavesItsPlaceToTheOldOne) {
  Scene scene(Scene::workers(2));
  scene.up();
  const auto job = scene.keep(scene.service.reload(scene.now, scene.out));
  scene.ready(3);
  scene.keep(scene.service.drain(3, scene.now, scene.out));
  EXPECT_NE(failed(scene, job), "");
  EXPECT_EQ(scene.service.slots()[0].current, 1u);
  scene.leave(3, 0);
  EXPECT_EQ(scene.count<Spawn>(), 1u) << "no third worker";
  EXPECT_EQ(scene.serving(), 2u);
}

TEST(Orders, NewGenerationThatFailsInItsProbationIsDrainedAndTheOldOneServes) {
  Scene scene(Scene::workers(2));
  scene.up();
  const auto job = scene.keep(scene.service.reload(scene.now, scene.out));
  scene.ready(3);
  scene.fail(3);
  EXPECT_NE(failed(scene, job), "");
  EXPECT_EQ(scene.worker(3).state, WorkerState::draining);
  EXPECT_EQ(scene.worker(3).requested, DrainReason::error);
  EXPECT_EQ(scene.service.slots()[0].current, 1u);
  EXPECT_EQ(scene.serving(), 2u);
  EXPECT_EQ(scene.service.generation(), 1u);
}

TEST(Orders, OldWorkerThatCrashesDuringAReloadIsReplacedOnce) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.keep(scene.service.reload(scene.now, scene.out));
  scene.die(1, SIGSEGV);
  EXPECT_EQ(scene.count<Spawn>(), 1u) << "the candidate is in its place already";
}

TEST(Orders, SecondReloadIsRefusedAndAStopOvertakesIt) {
  Scene scene;
  scene.up();
  const auto job = scene.keep(scene.service.reload(scene.now, scene.out));
  scene.keep(scene.service.reload(scene.now, scene.out));
  EXPECT_EQ(scene.refused, "a reload of web is under way");
  scene.keep(scene.service.stop(scene.now, scene.out));
  EXPECT_EQ(failed(scene, job), "overtaken by a stop");
}

TEST(Orders, ReloadOfAStoppedServiceIsRefused) {
  Scene scene;
  scene.keep(scene.service.reload(scene.now, scene.out));
  EXPECT_EQ(scene.refused, "service web is not running: start it instead");
}

TEST(Orders, ScaleUpStartsAndScaleDownDrainsTheHighestSlots) {
  Scene scene(Scene::workers(2));
  scene.up();
  const auto up = scene.keep(scene.service.scale(4, scene.now, scene.out));
  EXPECT_EQ(scene.count<Spawn>(), 2u);
  scene.ready(3);
  scene.ready(4);
  EXPECT_TRUE(succeeded(scene, up));
  const auto down = scene.keep(scene.service.scale(1, scene.now, scene.out));
  EXPECT_EQ(scene.count<OrderDrain>(), 3u);
  EXPECT_EQ(scene.worker(1).state, WorkerState::serving);
  for (WorkerId id = 2; id <= 4; ++id) scene.leave(id, 0);
  EXPECT_TRUE(succeeded(scene, down));
  EXPECT_EQ(scene.count<Spawn>(), 2u);
}

TEST(Orders, ScaleIsBoundedOnBothSides) {
  Scene scene;
  scene.up();
  scene.keep(scene.service.scale(0, scene.now, scene.out));
  EXPECT_EQ(scene.refused, "a service has at least one worker: stop it instead");
  scene.keep(scene.service.scale(max_workers + 1, scene.now, scene.out));
  EXPECT_EQ(scene.refused, "at most 1024 workers, not 1025");
  scene.keep(scene.service.scale(max_workers, scene.now, scene.out));
  EXPECT_EQ(scene.refused, "");
}

TEST(Orders, ScaleOfAStoppedServiceIsForItsNextStart) {
  Scene scene;
  const auto job = scene.keep(scene.service.scale(3, scene.now, scene.out));
  EXPECT_TRUE(succeeded(scene, job));
  scene.keep(scene.service.start(scene.now, scene.out));
  EXPECT_EQ(scene.count<Spawn>(), 3u);
}

TEST(Orders, ReloadBringsAServiceBackThatHadGivenUp) {
  ServiceConfig config;
  config.restart.give_up = 1;
  Scene scene(config);
  scene.keep(scene.service.start(scene.now, scene.out));
  scene.exit(1, 1);
  ASSERT_TRUE(scene.service.slots()[0].given_up);
  const auto job = scene.keep(scene.service.reload(scene.now, scene.out));
  scene.ready(2);
  scene.pass(Millis(2000));
  EXPECT_TRUE(succeeded(scene, job));
  scene.die(2, SIGSEGV);
  EXPECT_EQ(scene.count<Spawn>(), 3u) << "it is re-forked as any other";
}

TEST(Orders, DrainTwiceIsHarmlessAndBothAreDoneWhenItIsGone) {
  Scene scene(Scene::workers(2));
  scene.up();
  const auto first = scene.keep(scene.service.drain(1, scene.now, scene.out));
  const auto deadline = scene.worker(1).deadline;
  scene.pass(Millis(500));
  const auto second = scene.keep(scene.service.drain(1, scene.now, scene.out));
  EXPECT_EQ(scene.worker(1).deadline, deadline);
  EXPECT_EQ(scene.count<OrderDrain>(), 1u);
  scene.leave(1, 0);
  EXPECT_TRUE(succeeded(scene, first));
  EXPECT_TRUE(succeeded(scene, second));
  EXPECT_EQ(scene.count<Spawn>(), 1u);
}

TEST(Orders, DrainOfTheOnlyWorkerWaitsForItsReplacement) {
  Scene scene;
  scene.up();
  scene.keep(scene.service.drain(1, scene.now, scene.out));
  EXPECT_EQ(scene.count<OrderDrain>(), 0u);
  ASSERT_EQ(scene.count<Spawn>(), 1u);
  scene.ready(2);
  EXPECT_EQ(scene.count<OrderDrain>(), 1u);
}

TEST(Orders, UnknownWorkerIsRefused) {
  Scene scene;
  scene.up();
  scene.keep(scene.service.drain(7, scene.now, scene.out));
  EXPECT_EQ(scene.refused, "no worker 7");
}

TEST(Pace, BucketStartsFullAndRefillsEvenly) {
  TokenBucket bucket(2, Millis(1000));
  const Time start{std::chrono::hours(1)};
  EXPECT_TRUE(bucket.take(start));
  EXPECT_TRUE(bucket.take(start));
  EXPECT_FALSE(bucket.take(start));
  EXPECT_FALSE(bucket.take(start + Millis(499)));
  EXPECT_TRUE(bucket.take(bucket.next(start + Millis(499))));
  EXPECT_FALSE(bucket.take(start + Millis(501)));
}

TEST(Pace, BackoffDoublesUpToItsMaximumWithJitterBelow) {
  EXPECT_EQ(backoff_delay(1, Millis(100), Millis(30000), 1.0), Millis(100));
  EXPECT_EQ(backoff_delay(1, Millis(100), Millis(30000), 0.0), Millis(75));
  EXPECT_EQ(backoff_delay(4, Millis(100), Millis(30000), 1.0), Millis(800));
  EXPECT_EQ(backoff_delay(99, Millis(100), Millis(30000), 1.0), Millis(30000));
}

}  // namespace
}  // namespace refork::core
