// Workers that crash, hang or let a request take too long: who is replaced when, and what is told of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "core/sentences.h"
#include "unit/core_scene.h"

namespace refork::core {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> types(const Scene& scene) {
  std::vector<std::string> found;
  for (const auto& event : scene.all<Announce>()) found.emplace_back(event.type.name());
  return found;
}

void crash(Scene& scene, WorkerId id) { scene.service.on_crash(id, false, scene.now, scene.out); }
void contain(Scene& scene, WorkerId id) { scene.service.on_crash(id, true, scene.now, scene.out); }
void dump(Scene& scene, WorkerId id) {
  scene.service.on_exit(id, {{}, SIGSEGV, true, {}}, scene.now, scene.out);
}

TEST(Crash, IsReplacedBeforeItsProcessIsGoneAndNotSignalled) {
  Scene scene(Scene::workers(2));
  scene.up();
  crash(scene, 1);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  EXPECT_EQ(scene.all<Spawn>()[0].slot, 0u);
  EXPECT_EQ(scene.count<Kill>() + scene.count<Terminate>() + scene.count<OrderDrain>(), 0u);
  EXPECT_THAT(types(scene), ElementsAre("worker-started", "worker-crashed"));
  scene.service.on_crash_recorded(1);
  dump(scene, 1);
  EXPECT_EQ(scene.count<Report>(), 0u) << "its crash was recorded";
  EXPECT_EQ(scene.count<Ended>(), 1u);
  EXPECT_EQ(scene.all<Ended>()[0].cause, "signal");
  EXPECT_EQ(scene.all<Ended>()[0].outcome, "");
  EXPECT_EQ(scene.count<Spawn>(), 1u);
}

TEST(Crash, WithoutARecordIsReportedAtItsEnd) {
  Scene scene(Scene::workers(2));
  scene.up();
  crash(scene, 1);
  dump(scene, 1);
  EXPECT_EQ(scene.all<Report>().at(0).kind, Kind::signal);
}

TEST(Crash, ThatDumpsCoreIsLeftAloneAsLongAsItDoes) {
  Scene scene(Scene::workers(2));
  scene.up();
  crash(scene, 1);
  scene.pass(crash_grace - Millis(1));
  EXPECT_EQ(scene.count<LookForDump>(), 0u);
  scene.pass(Millis(1));
  EXPECT_EQ(scene.count<LookForDump>(), 1u);
  scene.service.on_dump_seen(1, true, scene.now, scene.out);
  scene.pass(dump_look_again);
  EXPECT_EQ(scene.count<LookForDump>(), 2u);
  EXPECT_EQ(scene.count<Kill>(), 0u);
  EXPECT_EQ(scene.worker(1).why, "crashed, dumps core");
}

TEST(Crash, ThatDumpsCoreForeverIsKilledAtABound) {
  Scene scene(Scene::workers(2));
  scene.up();
  crash(scene, 1);
  scene.ready(3);
  scene.pass(dump_bound - Millis(1));
  scene.service.on_dump_seen(1, true, scene.now, scene.out);
  EXPECT_EQ(scene.count<Kill>(), 0u);
  scene.pass(Millis(1));
  scene.service.on_dump_seen(1, true, scene.now, scene.out);
  EXPECT_EQ(scene.count<Kill>(), 1u);
}

TEST(Crash, ThatNeitherEndsNorDumpsIsKilled) {
  Scene scene(Scene::workers(2));
  scene.up();
  crash(scene, 1);
  scene.pass(crash_grace);
  scene.service.on_dump_seen(1, false, scene.now, scene.out);
  EXPECT_EQ(scene.count<Kill>(), 1u);
  scene.die(1, SIGKILL);
  ASSERT_EQ(scene.count<Report>(), 1u);
  EXPECT_EQ(scene.all<Report>()[0].kind, Kind::signal);
  EXPECT_THAT(scene.all<Report>()[0].message, HasSubstr("killed by SIGKILL while serving"));
}

TEST(Crash, IsSaidOnlyOnce) {
  Scene scene(Scene::workers(2));
  scene.up();
  crash(scene, 1);
  crash(scene, 1);
  contain(scene, 1);
  scene.fail(1);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  EXPECT_EQ(scene.count<GiveVerdict>(), 0u);
}

TEST(Crash, BeforeItIsReadyBacksOff) {
  Scene scene;
  scene.keep(scene.service.start(scene.now, scene.out));
  crash(scene, 1);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  scene.service.on_crash_recorded(1);
  dump(scene, 1);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  EXPECT_EQ(scene.all<Ended>().at(0).cause, "boot");
  EXPECT_EQ(scene.count<Report>(), 0u) << "its crash was recorded";
  scene.pass(Millis(100));
  EXPECT_EQ(scene.count<Spawn>(), 2u);
}

TEST(Crash, InADrainIsADeathInADrain) {
  Scene scene(Scene::workers(2));
  scene.up().fail(1);
  scene.ready(3);
  crash(scene, 1);
  scene.pass(Millis(31000));
  EXPECT_EQ(scene.count<Kill>(), 0u) << "the drain's deadline is not its bound any more";
  scene.service.on_crash_recorded(1);
  dump(scene, 1);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "died");
  EXPECT_EQ(scene.all<Ended>().at(0).requested, "error");
}

TEST(Crash, OfACandidateFailsTheReload) {
  Scene scene(Scene::workers(1));
  scene.up();
  scene.keep(scene.service.reload(scene.now, scene.out));
  scene.ready(2);
  crash(scene, 2);
  EXPECT_THAT(scene.all<JobDone>().at(0).result.error().what, HasSubstr("it crashed in its probation"));
  EXPECT_EQ(scene.service.slots()[0].current, 1u);
  dump(scene, 2);
  EXPECT_EQ(scene.serving(), 1u);
}

TEST(ContainedCrash, DrainsByItselfWithoutAVerdict) {
  Scene scene(Scene::workers(2));
  scene.up();
  contain(scene, 1);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  EXPECT_EQ(scene.count<GiveVerdict>() + scene.count<OrderDrain>(), 0u);
  EXPECT_EQ(scene.worker(1).state, WorkerState::draining);
  EXPECT_TRUE(scene.worker(1).tainted);
  scene.service.on_crash_recorded(1);
  scene.service.on_disconnect(1, false, scene.now, scene.out);
  dump(scene, 1);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "clean");
  EXPECT_EQ(scene.all<Ended>().at(0).requested, "error");
  EXPECT_EQ(scene.all<Ended>().at(0).signal, SIGSEGV);
  EXPECT_EQ(scene.count<Report>(), 0u);
}

TEST(ContainedCrash, ThatDiesBeforeTheOthersHaveFinishedDiedInItsDrain) {
  Scene scene(Scene::workers(2));
  scene.up();
  contain(scene, 1);
  dump(scene, 1);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "died");
}

TEST(ContainedCrash, DrawsOnTheBudgetButDrainsWithoutItToo) {
  auto config = Scene::workers(3);
  config.restart.budget = 1;
  Scene scene(config);
  scene.up();
  contain(scene, 1);
  contain(scene, 2);
  EXPECT_EQ(scene.count<Spawn>(), 2u);
  scene.fail(3);
  EXPECT_EQ(scene.all<GiveVerdict>().at(0).verdict, proto::Verdict::serve) << "the budget is used up";
}

TEST(ContainedCrash, IsKilledAtItsDeadline) {
  Scene scene(Scene::workers(2));
  scene.up();
  contain(scene, 1);
  scene.ready(3);
  scene.service.on_crash_recorded(1);
  scene.pass(Millis(30000) + kill_grace);
  EXPECT_EQ(scene.count<Kill>(), 1u);
  scene.die(1, SIGKILL);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "deadline");
  EXPECT_EQ(scene.count<Report>(), 0u);
}

TEST(CoreDumps, AreNotAllowedBeyondTheirNumberAnHour) {
  auto config = Scene::workers(2);
  config.core_dumps = 2;
  Scene scene(config);
  scene.up();
  dump(scene, 1);
  EXPECT_EQ(scene.count<AllowDumps>(), 0u);
  scene.pass(Millis(1000));
  dump(scene, 2);
  ASSERT_EQ(scene.count<AllowDumps>(), 1u);
  EXPECT_FALSE(scene.all<AllowDumps>()[0].allowed);
  EXPECT_FALSE(scene.service.dumps_allowed());
  EXPECT_THAT(types(scene), testing::Contains("core-dumps"));
  scene.pass(dumps_window - Millis(1001));
  EXPECT_EQ(scene.count<AllowDumps>(), 1u);
  scene.pass(Millis(1));
  ASSERT_EQ(scene.count<AllowDumps>(), 2u);
  EXPECT_TRUE(scene.service.dumps_allowed());
}

TEST(CoreDumps, NoneMeansNeverAny) {
  auto config = Scene::workers(1);
  config.core_dumps = 0;
  Scene scene(config);
  scene.up();
  EXPECT_FALSE(scene.service.dumps_allowed());
  EXPECT_EQ(scene.count<AllowDumps>(), 0u);
}

Scene hung_scene(std::uint32_t workers = 2) {
  auto config = Scene::workers(workers);
  config.watchdog = Millis(2000);
  return Scene(config);
}

TEST(Hang, DrainsWithoutBudgetOrFloorAndHasTheWatchdogsTimeForIt) {
  Scene scene = hung_scene(1);
  scene.up();
  scene.service.on_hung(1, "its loop has not beaten for 2s", scene.now, scene.out);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  ASSERT_EQ(scene.count<OrderDrain>(), 1u);
  EXPECT_EQ(scene.all<OrderDrain>()[0].deadline, Millis(2000));
  EXPECT_THAT(types(scene), ElementsAre("worker-hung", "worker-started", "worker-draining"));
  scene.pass(Millis(2000) + kill_grace);
  EXPECT_EQ(scene.count<Kill>(), 1u);
  scene.die(1, SIGKILL);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "deadline");
  EXPECT_EQ(scene.count<Report>(), 0u) << "the hang was recorded";
}

TEST(Hang, IsNoneInAWorkerThatLeavesOrIsNotReady) {
  Scene scene = hung_scene();
  scene.keep(scene.service.start(scene.now, scene.out));
  scene.out.clear();
  scene.service.on_hung(1, "", scene.now, scene.out);
  EXPECT_TRUE(scene.out.empty());
  scene.ready(1);
  scene.ready(2);
  scene.fail(1);
  scene.out.clear();
  scene.service.on_hung(1, "", scene.now, scene.out);
  EXPECT_TRUE(scene.out.empty());
}

TEST(Hang, NeverHasLongerThanTheDrainDeadline) {
  auto config = Scene::workers(1);
  config.watchdog = Millis(60000);
  Scene scene(config);
  scene.up();
  scene.service.on_hung(1, "", scene.now, scene.out);
  EXPECT_EQ(scene.all<OrderDrain>().at(0).deadline, Millis(30000));
}

TEST(RequestTimeout, DrainsItsWorkerAsAnErrorDoes) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.service.on_request_timeout(1, "GET / takes longer than 1s", scene.now, scene.out);
  ASSERT_EQ(scene.count<OrderDrain>(), 1u);
  EXPECT_EQ(scene.all<OrderDrain>()[0].reason, DrainReason::error);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  EXPECT_THAT(types(scene), ElementsAre("request-timeout", "worker-started", "worker-draining"));
}

TEST(RequestTimeout, WaitsForTheBudgetAndServesOnTainted) {
  auto config = Scene::workers(2);
  config.restart.budget = 1;
  Scene scene(config);
  scene.up();
  scene.service.on_request_timeout(1, "", scene.now, scene.out);
  scene.service.on_request_timeout(2, "", scene.now, scene.out);
  EXPECT_EQ(scene.count<OrderDrain>(), 1u);
  EXPECT_EQ(scene.service.state(), ServiceState::storm);
  EXPECT_TRUE(scene.worker(2).tainted);
  scene.ready(3);
  scene.pass(Millis(10000));
  EXPECT_EQ(scene.count<OrderDrain>(), 2u);
}

TEST(RequestTimeout, InADrainChangesNothing) {
  Scene scene(Scene::workers(2));
  scene.up().fail(1);
  scene.service.on_request_timeout(1, "", scene.now, scene.out);
  EXPECT_EQ(scene.count<OrderDrain>(), 0u);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
}

TEST(OutOfMemory, IsTheKernelsWordTogetherWithSigkill) {
  const auto die = [](Scene& scene, int signal) {
    scene.service.on_exit(1, {.code = {}, .signal = signal, .core = false, .boot_error = {}, .oom = true},
                          scene.now, scene.out);
  };
  Scene scene(Scene::workers(2));
  scene.up();
  die(scene, SIGKILL);
  EXPECT_EQ(scene.all<Report>().at(0).kind, Kind::oom);
  EXPECT_EQ(scene.all<Report>().at(0).message,
            "killed by the kernel, which was out of memory, while serving");

  Scene other(Scene::workers(2));
  other.up();
  die(other, SIGTERM);
  EXPECT_EQ(other.all<Report>().at(0).kind, Kind::signal);

  Scene ordered(Scene::workers(2));
  ordered.up();
  ordered.keep(ordered.service.kill(1, ordered.now, ordered.out));
  die(ordered, SIGKILL);
  EXPECT_EQ(ordered.count<Report>(), 0u) << "killed from here";
}

}  // namespace
}  // namespace refork::core
