// Every way a process ends: exactly one end, a failure where it is one, exactly one replacement.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "core/sentences.h"
#include "unit/core_scene.h"

namespace refork::core {
namespace {

TEST(Ends, CleanDrainIsNoFailure) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.keep(scene.service.drain(1, scene.now, scene.out));
  scene.pass(Millis(40));
  scene.leave(1, 0);
  ASSERT_EQ(scene.count<Ended>(), 1u);
  const auto end = scene.all<Ended>()[0];
  EXPECT_EQ(end.requested, "operator");
  EXPECT_EQ(end.outcome, "clean");
  EXPECT_EQ(end.cause, "drained");
  EXPECT_EQ(end.drain_duration, Millis(40));
  EXPECT_EQ(scene.count<Report>(), 0u);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
}

TEST(Ends, CrashWhileServingIsASignalFailureAndReplacedAtOnce) {
  Scene scene(Scene::workers(2));
  scene.up().die(1, SIGSEGV);
  ASSERT_EQ(scene.count<Report>(), 1u);
  EXPECT_EQ(scene.all<Report>()[0].kind, Kind::signal);
  EXPECT_EQ(scene.all<Report>()[0].message, "killed by SIGSEGV while serving");
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "");
  EXPECT_EQ(scene.count<Spawn>(), 1u);
}

TEST(Ends, CrashInADrainIsACrashWithExactlyOneReplacement) {
  Scene scene(Scene::workers(2));
  scene.up().fail(1);
  scene.die(1, SIGABRT);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  ASSERT_EQ(scene.count<Ended>(), 1u);
  EXPECT_EQ(scene.all<Ended>()[0].requested, "error");
  EXPECT_EQ(scene.all<Ended>()[0].outcome, "died");
  EXPECT_EQ(scene.all<Report>().at(0).kind, Kind::signal);
}

TEST(Ends, ExitWithoutALastWordIsAFailure) {
  Scene scene(Scene::workers(2));
  scene.up().exit(1, 0);
  EXPECT_EQ(scene.all<Report>().at(0).kind, Kind::exit);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
}

TEST(Ends, ExitRightAfterItsLastWordIsNoFailureAndReplaced) {
  Scene scene(Scene::workers(2));
  scene.up().leave(1, 0);
  EXPECT_EQ(scene.count<Report>(), 0u);
  EXPECT_EQ(scene.count<Ended>(), 1u);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
}

TEST(Ends, ExitInADrainThatLeavesRequestsWithoutAnAnswerIsAFailure) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.keep(scene.service.drain(1, scene.now, scene.out));
  scene.exit_cutting(1, 1);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "died");
  EXPECT_EQ(scene.all<Ended>().at(0).cause, "exit");
  ASSERT_EQ(scene.count<Report>(), 1u);
  EXPECT_EQ(scene.all<Report>()[0].kind, Kind::exit);
  EXPECT_EQ(scene.all<Report>()[0].message, "exited with code 0 while draining, with 1 request under way");
}

TEST(Ends, ALastWordThatLeavesRequestsWithoutAnAnswerIsAFailure) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.service.on_disconnect(1, false, scene.now, scene.out);
  scene.exit_cutting(1, 2);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "died");
  EXPECT_EQ(scene.all<Report>().at(0).kind, Kind::exit);
  EXPECT_THAT(scene.all<Report>().at(0).message, testing::HasSubstr("2 requests under way"));
}

TEST(Ends, OfAnExpelledWorkerThatCutsRequestsTheViolationTells) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.service.on_violation(1, "ready before hello", scene.now, scene.out);
  scene.exit_cutting(1, 1);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "died");
  ASSERT_EQ(scene.count<Report>(), 1u);
  EXPECT_EQ(scene.all<Report>()[0].kind, Kind::protocol);
}

TEST(Ends, KillByAnOperatorThatCutsRequestsIsAFailure) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.keep(scene.service.kill(1, scene.now, scene.out));
  scene.service.on_exit(1, {.code = {}, .signal = SIGKILL, .core = false, .boot_error = {}, .cut = 3},
                        scene.now, scene.out);
  ASSERT_EQ(scene.count<Report>(), 1u);
  EXPECT_EQ(scene.all<Report>()[0].kind, Kind::signal);
  EXPECT_EQ(scene.all<Report>()[0].message, "killed by an operator, with 3 requests under way");
  EXPECT_EQ(scene.all<Ended>().at(0).cause, "killed");
}

TEST(Ends, AskedForDrainCutAtTheDeadlineIsAFailureOfKindDeadline) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.keep(scene.service.drain(1, scene.now, scene.out));
  scene.ready(3);
  scene.pass(Millis(30000));
  EXPECT_EQ(scene.count<Kill>(), 0u) << "a linked worker leaves at its deadline by itself";
  scene.pass(kill_grace);
  EXPECT_EQ(scene.count<Kill>(), 1u);
  scene.die(1, SIGKILL);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "deadline");
  EXPECT_EQ(scene.all<Report>().at(0).kind, Kind::deadline);
}

TEST(Ends, ErrorDrainCutAtTheDeadlineIsToldByItsOwnRecords) {
  Scene scene(Scene::workers(2));
  scene.up().fail(1);
  scene.service.on_disconnect(1, true, scene.now, scene.out);
  scene.exit(1, 3);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "deadline");
  EXPECT_EQ(scene.count<Report>(), 0u);
}

TEST(Ends, KillByAnOperatorIsNoFailure) {
  Scene scene(Scene::workers(2));
  scene.up();
  const auto job = scene.keep(scene.service.kill(1, scene.now, scene.out));
  EXPECT_EQ(scene.count<Kill>(), 1u);
  scene.die(1, SIGKILL);
  EXPECT_EQ(scene.count<Report>(), 0u);
  EXPECT_EQ(scene.all<Ended>().at(0).cause, "killed");
  EXPECT_EQ(scene.all<JobDone>().at(0).job, job);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
}

TEST(Ends, AbortAfterARecordedTerminateIsNoSecondFailure) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.service.on_terminate_recorded(1);
  scene.die(1, SIGABRT);
  EXPECT_EQ(scene.count<Report>(), 0u);
  EXPECT_EQ(scene.all<Ended>().at(0).signal, SIGABRT);
  EXPECT_EQ(scene.all<Ended>().at(0).cause, "signal");
  EXPECT_EQ(scene.count<Spawn>(), 1u);
}

TEST(Ends, AbortAfterARecordedTerminateIsNoSecondFailureWhenTheMessageBegunADrain) {
  Scene scene(Scene::workers(2));
  scene.up().fail(1);
  scene.service.on_terminate_recorded(1);
  scene.die(1, SIGABRT);
  EXPECT_EQ(scene.count<Report>(), 0u);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "died");
}

TEST(Ends, OnlyTheAbortThatATerminateAnnouncedIsTold) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.service.on_terminate_recorded(1);
  scene.die(1, SIGSEGV);
  scene.die(2, SIGABRT);
  ASSERT_EQ(scene.count<Report>(), 2u);
  EXPECT_EQ(scene.all<Report>()[0].kind, Kind::signal);
  EXPECT_EQ(scene.all<Report>()[1].kind, Kind::signal);
}

TEST(Ends, KillByAStrangerIsAFailure) {
  Scene scene(Scene::workers(2));
  scene.up().die(1, SIGKILL);
  EXPECT_EQ(scene.all<Report>().at(0).message, "killed by SIGKILL, by whom is not known, while serving");
}

TEST(Ends, BootFailureBacksOffAndDoubles) {
  Scene scene;
  scene.keep(scene.service.start(scene.now, scene.out));
  scene.exit(1, 127);
  EXPECT_EQ(scene.all<Report>().at(0).kind, Kind::boot);
  EXPECT_EQ(scene.all<Ended>().at(0).cause, "boot");
  EXPECT_EQ(scene.service.state(), ServiceState::degraded);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  scene.pass(Millis(74));
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  scene.pass(Millis(1));  // 100 ms less the jitter
  EXPECT_EQ(scene.count<Spawn>(), 2u);
  scene.exit(2, 127);
  scene.pass(Millis(149));
  EXPECT_EQ(scene.count<Spawn>(), 2u);
  scene.pass(Millis(1));
  EXPECT_EQ(scene.count<Spawn>(), 3u);
}

TEST(Ends, BootFailuresNeverGiveUpUnlessTold) {
  Scene scene;
  scene.keep(scene.service.start(scene.now, scene.out));
  for (int i = 0; i < 50; ++i) {
    scene.exit(scene.last_id, 1);
    scene.pass(Millis(30000));
  }
  EXPECT_EQ(scene.count<Spawn>(), 51u);
}

TEST(Ends, GivesUpWhenTold) {
  ServiceConfig config;
  config.restart.give_up = 2;
  Scene scene(config);
  scene.keep(scene.service.start(scene.now, scene.out));
  scene.exit(1, 1);
  scene.pass(Millis(1000));
  scene.exit(2, 1);
  scene.pass(Millis(60000));
  EXPECT_EQ(scene.count<Spawn>(), 2u);
  EXPECT_TRUE(scene.service.slots()[0].given_up);
}

TEST(Ends, PolicyNeverAndAFailedStartLeaveNothingDueAndKeepTheReason) {
  ServiceConfig config;
  config.restart.policy = RestartPolicy::never;
  Scene scene(config);
  const auto job = scene.keep(scene.service.start(scene.now, scene.out));
  scene.exit(1, 7);
  EXPECT_EQ(scene.service.next(), std::nullopt);
  EXPECT_EQ(scene.service.slots()[0].why, "exited with code 7 before it was ready");
  ASSERT_EQ(scene.count<JobDone>(), 1u);
  EXPECT_EQ(scene.all<JobDone>()[0].job, job);
  EXPECT_FALSE(scene.all<JobDone>()[0].result.ok());
}

TEST(Ends, BootFailuresAreForgottenAfterAHealthyMinute) {
  Scene scene;
  scene.keep(scene.service.start(scene.now, scene.out));
  scene.exit(1, 1);
  scene.pass(Millis(1000));
  scene.ready(2);
  scene.pass(healthy_after);
  scene.die(2, SIGSEGV);
  EXPECT_EQ(scene.service.slots()[0].boot_failures, 0u);
}

// The replacement starts before the old worker has ended: what failed before the old one counts no more then.
TEST(Ends, FailedStartsBeforeAHealthyWorkerDoNotCountAgainstItsReplacement) {
  auto config = Scene::workers(1);
  config.restart.give_up = 2;
  for (const std::uint32_t floor : {0u, 1u}) {  // the replacement after, or before the drain begins
    config.floor = floor;
    Scene scene(config);
    scene.keep(scene.service.start(scene.now, scene.out));
    scene.exit(1, 1);
    scene.pass(Millis(1000));
    scene.ready(2);
    scene.pass(healthy_after);
    scene.fail(2);
    ASSERT_EQ(scene.worker(3).state, WorkerState::starting);
    scene.exit(3, 1);
    EXPECT_EQ(scene.service.slots()[0].boot_failures, 1u) << "floor " << floor;
    EXPECT_FALSE(scene.service.slots()[0].given_up) << "floor " << floor;
  }
}

TEST(Ends, FailedStartsOfAReplacementAreNotForgottenWithTheEndOfTheOldWorker) {
  auto config = Scene::workers(1);
  config.floor = 0;
  Scene scene(config);
  scene.up();
  scene.pass(healthy_after);
  scene.fail(1);
  scene.exit(2, 1);
  scene.leave(1, 0);
  EXPECT_EQ(scene.service.slots()[0].boot_failures, 1u);
}

TEST(Ends, ProcessThatCannotBeKilledIsKilledAgainButToldOnce) {
  Scene scene;
  scene.up();
  scene.keep(scene.service.kill(1, scene.now, scene.out));
  scene.pass(3 * kill_again);
  EXPECT_EQ(scene.count<Kill>(), 4u);
  const auto announced = scene.all<Announce>();
  EXPECT_EQ(std::ranges::count(announced, EventType("worker-killed"), &Announce::type), 1);
}

TEST(Ends, CrashAfterReadyIsReforkedAtOnceHoweverSoon) {
  Scene scene;
  scene.up();
  for (WorkerId id = 1; id < 20; ++id) {
    scene.die(id, SIGSEGV);
    ASSERT_EQ(scene.worker(id + 1).state, WorkerState::starting);
    scene.ready(id + 1);
  }
}

TEST(Ends, NotReadyInTimeIsKilledAndABootFailure) {
  Scene scene;
  scene.keep(scene.service.start(scene.now, scene.out));
  scene.pass(Millis(10000));
  EXPECT_EQ(scene.count<Kill>(), 1u);
  scene.die(1, SIGKILL);
  EXPECT_EQ(
      scene.all<Report>().at(0).message,
      "not ready within 10s: it has not called ready() of librefork; a program that does not link that needs "
      "\"ready\": \"exec\" or \"notify\"");
  EXPECT_EQ(scene.all<Report>().at(0).kind, Kind::boot);
}

TEST(Ends, WorkerThatLeavesBeforeItWasReadyDidNotBoot) {
  Scene scene;
  scene.keep(scene.service.start(scene.now, scene.out));
  scene.service.on_disconnect(1, false, scene.now, scene.out);
  EXPECT_EQ(scene.count<Spawn>(), 1u) << "no replacement before it is gone";
  scene.exit(1, 0);
  EXPECT_EQ(scene.count<Spawn>(), 1u) << "but a backoff";
  EXPECT_EQ(scene.all<Ended>().at(0).cause, "boot");
  EXPECT_EQ(scene.all<Report>().at(0).message, "it left before it was ready, exited with code 0");
}

TEST(Ends, WorkerThatLeavesUnreadyButStaysIsKilledAtTheDeadline) {
  Scene scene;
  scene.keep(scene.service.start(scene.now, scene.out));
  scene.service.on_drain_begun(1, DrainReason::operator_, scene.now, scene.out);
  scene.pass(Millis(30000) + kill_grace);
  EXPECT_EQ(scene.count<Kill>(), 1u);
  scene.die(1, SIGKILL);
  EXPECT_EQ(scene.all<Ended>().at(0).cause, "boot");
}

TEST(Ends, ViolationBeforeItWasReadyIsAFailedStart) {
  Scene scene;
  scene.keep(scene.service.start(scene.now, scene.out));
  scene.service.on_violation(1, "it speaks another protocol", scene.now, scene.out);
  EXPECT_EQ(scene.count<Kill>(), 1u);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  scene.die(1, SIGKILL);
  ASSERT_EQ(scene.count<Report>(), 1u);
  EXPECT_EQ(scene.all<Report>()[0].kind, Kind::protocol);
  EXPECT_EQ(scene.count<Spawn>(), 1u) << "it backs off";
}

TEST(Ends, ProgramThatEndsAtOnceDidNotBootThoughExecSucceeded) {
  ServiceConfig config;
  config.ready = ReadyBy::exec;
  Scene scene(config);
  scene.up().exit(1, 0);
  EXPECT_EQ(scene.all<Ended>().at(0).cause, "boot");
  EXPECT_EQ(scene.count<Spawn>(), 0u);
}

TEST(Ends, UnlinkedProgramIsDrainedBySignalAndKilledAtTheDeadline) {
  auto config = Scene::workers(2);
  config.ready = ReadyBy::exec;
  Scene scene(config);
  scene.up();
  scene.keep(scene.service.drain(1, scene.now, scene.out));
  EXPECT_EQ(scene.count<Terminate>(), 1u);
  EXPECT_EQ(scene.count<OrderDrain>(), 0u);
  scene.pass(Millis(30000));
  EXPECT_EQ(scene.count<Kill>(), 1u);
}

TEST(Ends, UnlinkedProgramEndedByTheDrainsSignalIsClean) {
  auto config = Scene::workers(2);
  config.ready = ReadyBy::exec;
  Scene scene(config);
  scene.up();
  scene.keep(scene.service.drain(1, scene.now, scene.out));
  scene.die(1, SIGTERM);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "clean");
  EXPECT_EQ(scene.count<Report>(), 0u);
}

TEST(Ends, ViolationExpelsTheWorkerAndReplacesIt) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.service.on_violation(1, "ready before hello", scene.now, scene.out);
  EXPECT_EQ(scene.count<CloseChannel>(), 1u);
  EXPECT_EQ(scene.count<Terminate>(), 1u);
  EXPECT_EQ(scene.all<Report>().at(0).kind, Kind::protocol);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  scene.die(1, SIGTERM);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "clean");
  EXPECT_EQ(scene.count<Spawn>(), 1u);
}

TEST(Ends, AnExpelledWorkerThatLeavesByItselfAtItsDeadlineWasCutByIt) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.service.on_violation(1, "ready before hello", scene.now, scene.out);
  scene.now += scene.service.config().drain_deadline - Millis(1);
  scene.exit(1, 3);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "deadline");
}

TEST(Ends, WorkerThatClosesItsChannelAndLivesOnIsExpelled) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.service.on_channel_closed(1, scene.now, scene.out);
  EXPECT_TRUE(scene.out.empty()) << "mostly the exit follows";
  scene.pass(channel_grace);
  EXPECT_EQ(scene.all<Report>().at(0).kind, Kind::protocol);
  EXPECT_EQ(scene.worker(1).state, WorkerState::draining);
}

TEST(Ends, WhatAnEndedWorkerSaidTooLateIsIgnored) {
  Scene scene(Scene::workers(2));
  scene.up().leave(1, 0);
  scene.out.clear();
  scene.ready(1);
  scene.fail(1);
  scene.service.on_disconnect(1, false, scene.now, scene.out);
  scene.exit(1, 0);
  EXPECT_TRUE(scene.out.empty());
}

// ---- ends of which nobody knows yet how

TEST(Gone, IsReplacedAtOnceAndToldOnceItIsKnownHow) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.service.on_gone(1, scene.now, scene.out);
  ASSERT_EQ(scene.count<Spawn>(), 1u);
  EXPECT_EQ(scene.all<Spawn>()[0].slot, 0u);
  EXPECT_EQ(scene.all<Announce>().back().type.name(), "worker-gone");
  EXPECT_EQ(scene.count<Ended>(), 0u);
  EXPECT_EQ(scene.worker(1).state, WorkerState::killing);
  scene.service.on_gone(1, scene.now, scene.out);
  scene.ready(3);
  scene.pass(Millis(3000));
  scene.die(1, SIGKILL);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  ASSERT_EQ(scene.count<Ended>(), 1u);
  EXPECT_EQ(scene.all<Ended>()[0].cause, "signal");
  EXPECT_EQ(scene.all<Ended>()[0].lived, Millis(0)) << "until it was gone, not until it was told";
  EXPECT_EQ(scene.all<Report>().at(0).kind, Kind::signal);
}

TEST(Gone, BeforeItWasReadyItBacksOffOnceItIsKnownHow) {
  Scene scene;
  scene.keep(scene.service.start(scene.now, scene.out));
  scene.service.on_gone(1, scene.now, scene.out);
  scene.pass(scene.service.config().start_timeout + Millis(1));
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  EXPECT_EQ(scene.count<Kill>(), 0u) << "there is nothing to be killed";
  scene.exit(1, 3);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  EXPECT_EQ(scene.all<Ended>().at(0).cause, "boot");
  scene.pass(Millis(100));
  EXPECT_EQ(scene.count<Spawn>(), 2u);
}

TEST(Gone, SoonAfterExecItDidNotBootHoweverLateThatIsTold) {
  auto config = Scene::workers(1);
  config.ready = ReadyBy::exec;
  Scene scene(config);
  scene.up();
  scene.pass(exec_settled - Millis(1));
  scene.service.on_gone(1, scene.now, scene.out);
  EXPECT_EQ(scene.count<Spawn>(), 0u);
  scene.pass(Millis(3000));
  scene.exit(1, 3);
  EXPECT_EQ(scene.all<Ended>().at(0).cause, "boot");
}

TEST(Gone, InADrainIsNeitherReplacedTwiceNorKilledAtTheDeadline) {
  Scene scene(Scene::workers(2));
  scene.up().fail(1);
  scene.ready(3);
  scene.pass(Millis(29000));
  scene.service.on_gone(1, scene.now, scene.out);
  scene.pass(Millis(3000));
  EXPECT_EQ(scene.count<Kill>(), 0u);
  scene.exit(1, 0);
  EXPECT_EQ(scene.count<Spawn>(), 1u);
  EXPECT_EQ(scene.all<Ended>().at(0).outcome, "clean");
  EXPECT_EQ(scene.all<Ended>().at(0).drain_duration, Millis(29000));
}

TEST(Gone, InItsProbationFailsTheReload) {
  Scene scene(Scene::workers(1));
  scene.up();
  scene.keep(scene.service.reload(scene.now, scene.out));
  scene.ready(2);
  scene.service.on_gone(2, scene.now, scene.out);
  EXPECT_THAT(scene.all<JobDone>().at(0).result.error().what,
              testing::HasSubstr("it ended in its probation"));
  EXPECT_EQ(scene.service.slots()[0].current, 1u);
  scene.die(2, SIGKILL);
  EXPECT_EQ(scene.serving(), 1u);
}

TEST(Life, TableIsTotalAndExitAlwaysEnds) {
  for (std::size_t s = 0; s < base::enum_count<WorkerState>; ++s) {
    const auto state = static_cast<WorkerState>(s);
    EXPECT_EQ(step(state, WorkerEvent::exited).act, Act::end);
    for (std::size_t e = 0; e < base::enum_count<WorkerEvent>; ++e) {
      const auto to = step(state, static_cast<WorkerEvent>(e));
      EXPECT_TRUE(!leaving(state) || leaving(to.next)) << "nothing brings a leaving worker back";
    }
  }
}

}  // namespace
}  // namespace refork::core
