// The causal line, made from the events of the real core::Service on a clock of its own.
#include "core/history.h"

#include <gmock/gmock.h>

#include "core_scene.h"

namespace refork::core {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::uint64_t start_ms = 1'790'000'000'000;

// A service whose events become history as they do in reforkd.
class Told : public Scene {
 public:
  using Scene::Scene;

  std::uint64_t now_ms() const {
    return start_ms + static_cast<std::uint64_t>(
                          std::chrono::duration_cast<Millis>(now - Time(std::chrono::hours(1))).count());
  }
  // Takes the effects: what was announced goes into the history.
  void tell() {
    for (const auto& announced : all<Announce>()) {
      Event event{.type = announced.type};
      event.time_ms = now_ms();
      if (announced.worker != 0) event.slot = announced.slot;
      event.worker = announced.worker;
      event.text = announced.text;
      history.add(event);
    }
    out.clear();
  }
  void tell_failure(WorkerId worker, std::uint32_t slot, const std::string& id,
                    const std::string& summary = "std::runtime_error: bad header") {
    FailureRow row;
    row.id = id;
    row.kind = "exception";
    row.time_ms = now_ms();
    row.slot = slot;
    row.worker = worker;
    history.failed(row, summary);
  }
  void order(const std::string& text, WorkerId worker = 0, std::optional<std::uint32_t> slot = {}) {
    Event event{.type = "operator"};
    event.time_ms = now_ms();
    event.worker = worker;
    event.slot = slot;
    event.text = text;
    history.add(event);
  }
  void begin(std::uint32_t workers) {
    keep(service.start(now, out));
    for (WorkerId id = 1; id <= workers; ++id) ready(id);
    tell();
  }
  std::vector<Condition> conditions(std::optional<std::uint32_t> slot = {}) const {
    return core::conditions(service, slot, now, now_ms());
  }

  History history;
};

std::vector<std::string> whats(const std::vector<HistoryEntry>& entries) {
  std::vector<std::string> all;
  for (const auto& entry : entries) all.push_back(entry.what);
  return all;
}

HistoryEntry find(const std::vector<HistoryEntry>& entries, const std::string& what, WorkerId worker) {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const auto& entry) {
    return entry.what == what && entry.worker == worker;
  });
  if (found == entries.end()) throw std::runtime_error("no " + what);
  return *found;
}

TEST(History, AFailureItsReplacementAndItsDrainAreOneLine) {
  Told told(Scene::workers(2));
  told.begin(2);
  told.pass(Millis(1000));
  told.fail(2);
  told.tell();
  told.pass(Millis(31));
  told.ready(3);
  told.tell();
  told.tell_failure(2, 1, "01f3");  // told when it has its names, after all that came of it ...
  told.pass(Millis(457));
  told.leave(2, 1);
  told.tell();
  told.history.finished(2, 3, 0);

  const auto line = told.history.entries(1);
  EXPECT_THAT(whats(line),
              ElementsAre("worker-started", "worker-started", "worker-draining", "failure", "worker-ended"));
  const auto replacement = find(line, "worker-started", 3);
  EXPECT_EQ(replacement.instead_of, 2u);
  EXPECT_EQ(replacement.duration_ms, 31u);
  EXPECT_EQ(replacement.failure, "");  // ... and by its time after it here, so that it is no cause
  EXPECT_EQ(find(line, "worker-ended", 2).failure, "01f3");
  EXPECT_EQ(find(line, "worker-ended", 2).completed, 3u);
  EXPECT_EQ(find(line, "worker-ended", 2).cut, 0u);
  EXPECT_EQ(find(line, "worker-started", 2).instead_of, 0u);
  EXPECT_EQ(told.history.entries(0).size(), 1u) << "the other slot has nothing of it";
}

TEST(History, AFailureStandsAtItsOwnTime) {
  Told told(Scene::workers(2));
  told.begin(2);
  told.pass(Millis(1000));
  const std::uint64_t failed_at = told.now_ms();
  told.fail(1);
  told.tell();
  told.pass(Millis(3000));
  FailureRow row;
  row.id = "01f3";
  row.kind = "exception";
  row.time_ms = failed_at;
  row.worker = 1;
  told.history.failed(row, "late");
  const auto line = told.history.entries(0);
  EXPECT_EQ(find(line, "worker-started", 3).failure, "01f3");
  EXPECT_EQ(find(line, "worker-draining", 1).failure, "01f3");
  EXPECT_EQ(find(line, "failure", 1).time_ms, failed_at);
}

TEST(History, NoWorkerFailsBeforeItWasStarted) {
  Told told(Scene::workers(1));
  told.begin(1);
  FailureRow row;
  row.id = "liar";
  row.worker = 1;
  row.time_ms = 1;
  told.history.failed(row, "");
  EXPECT_EQ(find(told.history.entries(0), "failure", 1).time_ms, start_ms);
}

TEST(History, WhoAskedIsNamedWithWhatCameOfIt) {
  Told told(Scene::workers(1));
  told.begin(1);
  told.pass(Millis(10));
  told.order("stop, asked for by uid 1000");
  told.keep(told.service.stop(told.now, told.out));
  told.tell();
  const auto drained = find(told.history.entries(0), "worker-draining", 1);
  EXPECT_EQ(drained.text, "drains: stop");
  EXPECT_EQ(drained.by, "uid 1000");
  EXPECT_EQ(drained.failure, "");
  EXPECT_EQ(find(told.history.entries({}), "operator", 0).by, "uid 1000");
}

TEST(History, WhatNobodyAskedForIsNotSaidToBeAskedFor) {
  ServiceConfig config = Scene::workers(2);
  config.recycle.requests = 10;
  Told told(config);
  told.begin(2);
  told.pass(Millis(10));
  told.order("drain, asked for by root", 1, 0);
  told.keep(told.service.drain(1, told.now, told.out));
  told.tell();
  EXPECT_EQ(find(told.history.entries(0), "worker-draining", 1).by, "root");
  told.leave(1, 0);
  told.ready(3);
  told.tell();
  told.service.on_usage(3, {10, 0}, told.now, told.out);
  told.tell();
  const auto recycled = find(told.history.entries(0), "worker-draining", 3);
  EXPECT_EQ(recycled.text, "drains: recycle");
  EXPECT_EQ(recycled.by, "");
}

TEST(History, AnOrderIsTheCauseOfNothingThatHappensToLaterWorkers) {
  Told told(Scene::workers(1));
  told.begin(1);
  told.pass(Millis(10));
  told.order("restart, asked for by root");
  told.keep(told.service.stop(told.now, told.out));
  told.tell();
  told.leave(1, 0);
  told.pass(Millis(10));
  told.keep(told.service.start(told.now, told.out));
  told.ready(2);
  told.tell();
  EXPECT_EQ(find(told.history.entries(0), "worker-draining", 1).by, "root");
  told.pass(Millis(10));
  told.keep(told.service.stop(told.now, told.out));  // reforkd itself ends
  told.tell();
  EXPECT_EQ(find(told.history.entries(0), "worker-draining", 2).by, "");
}

TEST(History, AFailureStandsBeforeWhatCameOfItInTheSameMoment) {
  Told told(Scene::workers(1));
  told.keep(told.service.start(told.now, told.out));
  told.exit(1, 1);
  told.tell();
  told.tell_failure(1, 0, "01f3");
  EXPECT_THAT(whats(told.history.entries(0)),
              ElementsAre("worker-started", "failure", "worker-ended", "worker-backoff"));
}

TEST(History, AStartAfterABackoffSaysHowLongItWaited) {
  ServiceConfig config = Scene::workers(1);
  config.restart.backoff_min = Millis(400);
  for (const bool failure_became_known : {false, true}) {
    Told told(config);
    told.keep(told.service.start(told.now, told.out));
    told.exit(1, 1);
    told.tell();
    if (failure_became_known) told.tell_failure(1, 0, "failure-1");
    told.pass(Millis(300));
    told.tell();
    const auto started = find(told.history.entries(0), "worker-started", 2);
    EXPECT_EQ(started.waited_for, "its backoff");
    EXPECT_EQ(started.waited_ms, 300u);
    EXPECT_EQ(started.instead_of, 1u);
  }
}

TEST(History, ADrainThatHadToWaitSaysForWhat) {
  Told told(Scene::workers(1));
  told.begin(1);
  told.fail(1);  // the only one: the floor is kept by its replacement
  told.tell();
  told.pass(Millis(250));
  told.ready(2);
  told.tell();
  const auto drained = find(told.history.entries(0), "worker-draining", 1);
  EXPECT_EQ(drained.waited_ms, 250u);
  EXPECT_THAT(drained.waited_for, HasSubstr("waits for its replacement"));
}

TEST(History, FailuresAlikeOfOneWorkerAreOneEntryWithTheirNumber) {
  Told told(Scene::workers(1));
  told.begin(1);
  for (int i = 0; i < 100; ++i) told.tell_failure(1, 0, "id" + std::to_string(i));
  told.tell_failure(1, 0, "other", "another");
  const auto line = told.history.entries(0);
  EXPECT_THAT(whats(line), ElementsAre("worker-started", "failure", "failure"));
  EXPECT_EQ(line[1].count, 100u);
}

TEST(History, KeepsSoManyOfEachSlotAndNoMore) {
  Told told(Scene::workers(2));
  told.begin(2);
  for (std::size_t i = 0; i < kept_a_slot - 1; ++i)
    told.tell_failure(2, 1, std::to_string(i), "failure number " + std::to_string(i));
  EXPECT_EQ(told.history.entries(1).size(), kept_a_slot);
  EXPECT_EQ(told.history.entries(1)[0].what, "worker-started");
  told.tell_failure(2, 1, "last", "one more");
  EXPECT_EQ(told.history.entries(1).size(), kept_a_slot);
  EXPECT_EQ(told.history.entries(1)[0].what, "failure");
  EXPECT_EQ(told.history.entries(0).size(), 1u) << "another slot's past is its own";
  for (std::size_t i = 0; i < kept_of_a_service + 1; ++i) told.order("reload, asked for by root");
  EXPECT_EQ(told.history.entries({}).size(), kept_of_a_service + kept_a_slot + 1);
}

TEST(History, TextsAreBoundedAndClean) {
  History history;
  Event event{.type = "protocol"};
  event.slot = 0;
  event.worker = 1;
  event.text = std::string(longest_entry + 1, 'x') + "\n";
  event.detail = "a\nb";
  history.add(event);
  EXPECT_LE(history.entries(0)[0].text.size(), longest_entry);
  EXPECT_EQ(history.entries(0)[0].detail, "ab");
}

// ---- what is so at the moment

// ---- another life

// What the next reforkd knows: the last that was said of each entry.
History next_life(const std::vector<HistoryEntry>& said) {
  History next;
  for (const auto& entry : said) next.restore(entry);
  return next;
}

TEST(History, IsTheSameInTheNextLife) {
  std::vector<HistoryEntry> said;
  Told told(Scene::workers(2));
  told.history = History([&said](const HistoryEntry& entry) { said.push_back(entry); });
  told.begin(2);
  told.tell_failure(1, 0, "f1");
  told.tell_failure(1, 0, "f2");
  told.fail(1);
  told.ready(3);
  told.tell();
  told.leave(1, 0);
  told.tell();
  told.history.finished(1, 5, 0);
  const auto before = told.history.entries({}), after = next_life(said).entries({});
  ASSERT_EQ(whats(after), whats(before));
  EXPECT_EQ(find(after, "failure", 1).count, 2u);
  EXPECT_EQ(find(after, "worker-started", 3).instead_of, 1u);
  EXPECT_EQ(find(after, "worker-started", 3).failure, "f1");
  EXPECT_TRUE(find(after, "worker-started", 3).duration_ms);
  EXPECT_EQ(find(after, "worker-ended", 1).completed, 5u);
}

TEST(History, GoesOnWithItsNumbersAndKnowsWhosePlaceIsTaken) {
  std::vector<HistoryEntry> said;
  Told told(Scene::workers(1));
  told.history = History([&said](const HistoryEntry& entry) { said.push_back(entry); });
  told.begin(1);
  const auto highest = said.back().number;
  told.history = next_life(said);
  told.fail(1);
  told.tell();
  const auto started = find(told.history.entries({}), "worker-started", 2);
  EXPECT_EQ(started.instead_of, 1u);
  EXPECT_GT(started.number, highest);
}

TEST(History, TheRestartsOfReforkdInARowAreOneAndStandForTheWorkersThatWereAdopted) {
  Told told(Scene::workers(1));
  told.begin(1);
  Event restarted{.type = "reforkd-started"}, adopted{.type = "worker-adopted"};
  adopted.slot = 0;
  adopted.worker = 1;
  for (restarted.time_ms = start_ms + 1; restarted.time_ms < start_ms + 100; ++restarted.time_ms) {
    told.history.add(restarted);
    told.history.add(adopted);
  }
  const auto all = told.history.entries({});
  EXPECT_EQ(std::ranges::count(all, "reforkd-started", &HistoryEntry::what), 1);
  EXPECT_EQ(find(all, "reforkd-started", 0).count, 99u);
  EXPECT_EQ(find(all, "reforkd-started", 0).time_ms, start_ms + 99);
  for (const auto& entry : all) EXPECT_NE(entry.what, "worker-adopted");
}

TEST(Conditions, OfARunningServiceThereAreNone) {
  Told told(Scene::workers(2));
  told.begin(2);
  EXPECT_TRUE(told.conditions().empty());
}

TEST(Conditions, ABackoffSaysUntilWhenAfterWhat) {
  ServiceConfig config = Scene::workers(2);
  config.restart.backoff_min = Millis(400);
  Told told(config);
  told.keep(told.service.start(told.now, told.out));
  told.ready(2);
  told.service.on_exit(1, {{}, {}, false, "exec /usr/bin/web: No such file or directory"}, told.now,
                       told.out);
  const auto found = told.conditions();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].kind, "backoff");
  EXPECT_EQ(found[0].slot, 0u);
  EXPECT_EQ(found[0].text,
            "waits for its next start after 1 failed start: exec /usr/bin/web: No such file or directory");
  EXPECT_EQ(found[0].until_ms, told.now_ms() + 300);
  EXPECT_TRUE(told.conditions(1).empty());
}

TEST(Conditions, GivenUpSaysHowOftenItTriedAndHowToTryAgain) {
  ServiceConfig config = Scene::workers(1);
  config.restart.give_up = 1;
  Told told(config);
  told.keep(told.service.start(told.now, told.out));
  told.exit(1, 3);
  const auto found = told.conditions();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].kind, "given-up");
  EXPECT_THAT(found[0].text, HasSubstr("after 1 failed start: exited with code 3 before it was ready"));
  EXPECT_THAT(found[0].text, HasSubstr("reforkctl start web"));
}

TEST(Conditions, AStormSaysWhenTheNextTokenComes) {
  ServiceConfig config = Scene::workers(2);
  config.restart.budget = 1;
  config.restart.budget_window = Millis(10000);
  Told told(config);
  told.begin(2);
  told.fail(1);
  told.ready(3);
  told.fail(2);
  const auto found = told.conditions();
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].kind, "storm");
  EXPECT_GT(found[0].until_ms, told.now_ms() + 9000);
  EXPECT_LE(found[0].until_ms, told.now_ms() + 10001);
  EXPECT_EQ(found[1].kind, "draining");
  EXPECT_EQ(found[1].until_ms, told.now_ms() + 30000);
  EXPECT_EQ(found[2].kind, "waiting");
  EXPECT_EQ(found[2].worker, 2u);
  EXPECT_THAT(found[2].text, HasSubstr("the restart budget is used up"));
}

TEST(Conditions, AWorkerThatKeepsTheFloorAndItsReplacementAreNamed) {
  Told told(Scene::workers(1));
  told.begin(1);
  told.fail(1);
  const auto found = told.conditions();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].kind, "waiting");
  EXPECT_THAT(found[0].text, HasSubstr("to keep the floor of 1"));
  EXPECT_EQ(found[1].kind, "starting");
  EXPECT_EQ(found[1].worker, 2u);
}

TEST(Conditions, AStoppedServiceAndAFailedReloadAreSaid) {
  Told told(Scene::workers(1));
  told.begin(1);
  told.keep(told.service.reload(told.now, told.out));
  told.exit(2, 1);
  const auto failed = told.conditions();
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed[0].kind, "reload");
  EXPECT_THAT(failed[0].text, HasSubstr("generation 2 failed in slot 0"));
  told.keep(told.service.stop(told.now, told.out));
  EXPECT_EQ(told.conditions()[0].kind, "stopping");
  told.leave(1, 0);
  EXPECT_EQ(told.conditions()[0].kind, "stopped");
}

// The loop of reforkd waits for the answer. In square time this takes minutes.
TEST(History, AServiceOfAllWorkersWithAFullPastIsAnsweredInAMoment) {
  History history;
  for (std::uint32_t slot = 0; slot < max_workers; ++slot)
    for (std::size_t i = 0; i < kept_a_slot / 2; ++i) {
      const WorkerId worker = 1 + slot + i * max_workers;
      Event event{.type = "worker-ended"};
      event.time_ms = start_ms + i;
      event.slot = slot;
      event.worker = worker;
      history.add(event);
      FailureRow row;
      row.id = "f" + std::to_string(worker);
      row.time_ms = event.time_ms;
      row.slot = slot;
      row.worker = worker;
      history.failed(row, "");
    }
  for (int i = 0; i < 4; ++i) {
    const auto all = history.entries({});
    ASSERT_EQ(all.size(), max_workers * kept_a_slot);
    EXPECT_EQ(all.front().failure, "f1");
    EXPECT_EQ(all.back().failure, "f" + std::to_string(max_workers * kept_a_slot / 2));
  }
}

}  // namespace
}  // namespace refork::core
