// Whether a loop hangs, starves or runs: what the scheduler says, second by second.
#include <gtest/gtest.h>

#include "core/health.h"

namespace refork::core {
namespace {

using State = HealthVerdict::State;

constexpr Millis watchdog{4000}, step{1000};

// A thread whose beats stop, looked at every second.
class Subject {
 public:
  // `ran`, `waited`: in this second.
  HealthVerdict second(Millis ran, Millis waited, char state = 'S', bool beats = false) {
    now += step;
    silent = beats ? Millis(0) : silent + step;
    task.state = state;
    task.run_ns += static_cast<std::uint64_t>(ran.count()) * 1'000'000;
    task.delay_ns += static_cast<std::uint64_t>(waited.count()) * 1'000'000;
    if (ran.count() != 0) ++task.slices;
    return health.look({{7, silent, task}}, now);
  }
  HealthVerdict seconds(int count, Millis ran, Millis waited, char state = 'S') {
    HealthVerdict last;
    for (int i = 0; i < count; ++i) last = second(ran, waited, state);
    return last;
  }
  Subject& beats() {
    second(Millis(1), Millis(0), 'S', true);
    return *this;
  }

  Health health{watchdog};
  Time now{std::chrono::hours(1)};
  Millis silent{0};
  Task task;
};

TEST(Health, IsFineAsLongAsItBeats) {
  Subject subject;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(subject.second(Millis(1), Millis(0), 'S', true).state, State::fine);
}

TEST(Health, ALoopThatSleepsOrSpinsHangs) {
  for (const Millis ran : {Millis(0), Millis(1000)}) {
    Subject subject;
    subject.beats();
    EXPECT_EQ(subject.seconds(3, ran, Millis(0)).state, State::fine);
    const auto verdict = subject.seconds(1, ran, Millis(0));
    EXPECT_EQ(verdict.state, State::hung);
    EXPECT_EQ(verdict.thread, 7u);
    EXPECT_EQ(say_hang(verdict, watchdog), "its loop has not beaten for 4s (watchdog 4s)");
  }
}

TEST(Health, AStoppedProcessHangs) {
  Subject subject;
  EXPECT_EQ(subject.beats().seconds(4, Millis(0), Millis(0), 'T').state, State::hung);
}

TEST(Health, ALoopThatWaitsForAProcessorMostOfTheTimeStarves) {
  Subject subject;
  const auto verdict = subject.beats().seconds(5, Millis(50), Millis(950), 'R');
  EXPECT_EQ(verdict.state, State::starved);
  EXPECT_EQ(say_starvation(verdict),
            "its loop has not beaten for 5s, but waited 4.7s of it for a processor: left alone");
}

TEST(Health, ALoopThatNeverGotAProcessorStarvesThoughTheKernelHasCountedNothingYet) {
  Subject subject;
  subject.beats();
  EXPECT_EQ(subject.seconds(8, Millis(0), Millis(0), 'R').state, State::starved);
  EXPECT_EQ(subject.seconds(100, Millis(0), Millis(0), 'R').state, State::starved);
}

TEST(Health, ALoopThatRanALittleAndWaitsAgainStarvesThoughTheKernelHasCountedOnlyTheFirstWait) {
  Subject subject;
  subject.beats();
  EXPECT_EQ(subject.seconds(1, Millis(10), Millis(200), 'R').state, State::fine);
  EXPECT_EQ(subject.seconds(9, Millis(0), Millis(0), 'R').state, State::starved);
}

TEST(Health, ALoopThatSpinsOnABusyMachineHangsOnceItHasHadTheTime) {
  Subject subject;
  subject.beats();
  EXPECT_EQ(subject.seconds(8, Millis(250), Millis(750), 'R').state, State::starved);
  EXPECT_EQ(subject.seconds(12, Millis(250), Millis(750), 'R').state, State::hung);
}

TEST(Health, AShortWaitIsMadeUpForAndNotCalledStarving) {
  Subject subject;
  subject.beats();
  subject.second(Millis(500), Millis(500));
  EXPECT_EQ(subject.seconds(3, Millis(1000), Millis(0)).state, State::fine);
  EXPECT_EQ(subject.seconds(1, Millis(1000), Millis(0)).state, State::hung);
}

TEST(Health, WithoutTheSchedulersWordSilenceIsAHang) {
  Subject subject;
  subject.beats();
  for (int i = 1; i <= 4; ++i)
    EXPECT_EQ(subject.health.look({{7, step * i, {}}}, subject.now + step * i).state,
              i < 4 ? State::fine : State::hung);
}

TEST(Health, ABeatMakesUpForEverything) {
  Subject subject;
  EXPECT_EQ(subject.beats().seconds(4, Millis(0), Millis(0)).state, State::hung);
  EXPECT_EQ(subject.beats().seconds(3, Millis(0), Millis(0)).state, State::fine);
}

TEST(Health, TheTimeInWhichNobodyLookedDoesNotCount) {
  Subject subject;
  subject.beats();
  subject.now += Millis(60000);
  subject.silent += Millis(60000);
  EXPECT_EQ(subject.second(Millis(0), Millis(0)).state, State::fine) << "this process did not run either";
  EXPECT_EQ(subject.seconds(2, Millis(0), Millis(0)).state, State::fine);
  EXPECT_EQ(subject.seconds(2, Millis(0), Millis(0)).state, State::hung);
}

TEST(Health, AThreadThatIsFirstSeenLateHasTimeToBeat) {
  Health health(watchdog);
  const Time now{std::chrono::hours(1)};
  EXPECT_EQ(health.look({{7, Millis(50000), Task()}}, now).state, State::fine);
  EXPECT_EQ(health.look({{7, Millis(51000), Task()}}, now + Millis(1000)).state, State::fine);
  EXPECT_EQ(health.look({{7, Millis(52000), Task()}}, now + Millis(2000)).state, State::hung);
}

TEST(Health, TheWorstThreadDecides) {
  Health health(watchdog);
  const Time now{std::chrono::hours(1)};
  for (int i = 0; i <= 4; ++i) {
    const auto verdict =
        health.look({{1, Millis(0), {}}, {2, step * i, {}}, {3, step * i / 2, {}}}, now + step * i);
    EXPECT_EQ(verdict.thread, i == 0 ? 0u : 2u);
    EXPECT_EQ(verdict.state, i < 4 ? State::fine : State::hung);
  }
}

}  // namespace
}  // namespace refork::core
