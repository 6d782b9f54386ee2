// What one reforkd leaves to the next: whole at every moment, and nothing forgotten.
#include "state/state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "core_scene.h"
#include "state/lines.h"
#include "state/memory.h"

namespace refork::state {
namespace {

core::Time at(int ms) { return core::Time(core::Millis(ms)); }

Service everything() {
  core::Scene scene(core::Scene::workers(2));
  scene.up();
  scene.fail(1);
  Service service;
  service.name = "web";
  service.print = "0123456789abcdef";
  service.wanted_print = "fedcba9876543210";
  service.configured = 4;
  service.ready = core::ReadyBy::notify;
  service.drain_deadline = core::Millis(1234);
  service.failures = 17;
  service.core = core::take_snapshot(scene.service);
  service.core.wanted_workers = 2;
  service.core.next_token = at(5);
  service.core.dumps = {at(1), at(2)};
  service.core.reload = {1, 3, 4, 2};
  service.core.last_reload_error = "\"no\"\n\xff";
  service.listeners = {{"web.listen.2", "unix:/run/web", "unix:/run/web", 4711}};
  Process process;
  process.worker = 2;
  process.pid = 99;
  process.start_time = 123456789;
  process.served_before_drain = 5;
  process.greeted = process.told_to_go = true;
  process.boot_error = "exec: No such file";
  process.unsafe_reports = {R"({"id":"1"})"};
  process.reports = {{"protocol", 2}};
  service.processes = {process};
  core::Ended ended{};
  ended.worker = 1;
  ended.signal = 9;
  ended.lived = core::Millis(77);
  service.ends = {{process, ended}};
  return service;
}

TEST(StateCodec, GivesBackWhatItWasGiven) {
  const std::string text = encode(everything());
  const auto decoded = decode(encode(7, 3, {{"web", text}}));
  ASSERT_TRUE(decoded) << decoded.error().what;
  EXPECT_EQ(decoded->last_worker, 7u);
  EXPECT_EQ(decoded->last_listener, 3u);
  ASSERT_EQ(decoded->services.size(), 1u);
  const Service& service = decoded->services[0];
  EXPECT_EQ(encode(decode(encode(7, 3, {{"web", encode(service)}}))->services[0]), encode(service));
  EXPECT_EQ(service.core.last_reload_error, "\"no\"\n\xef\xbf\xbd");
  EXPECT_EQ(service.core.workers.size(), 3u);
  EXPECT_EQ(service.core.workers[0].state, core::WorkerState::draining);
  EXPECT_EQ(service.core.workers[0].requested, DrainReason::error);
  EXPECT_EQ(service.core.dumps, (std::vector<core::Time>{at(1), at(2)}));
  EXPECT_EQ(service.ends.at(0).ended.signal, 9);
  EXPECT_EQ(service.processes.at(0).reports.at("protocol"), 2u);
}

TEST(StateCodec, AnEndThatIsEncodedBeforehandIsTheSame) {
  Service service = everything();
  const std::string plain = encode(service);
  service.ends[0].encoded = encode(service.ends[0]);
  EXPECT_EQ(encode(service), plain);
}

TEST(StateCodec, RefusesAnotherVersionAndWhatIsNotOne) {
  EXPECT_EQ(decode(R"({"version":2,"last_worker":1,"last_listener":1,"services":[]})").error().code, EPROTO);
  for (const char* text : {"", "{", "[]", R"({"version":1})", R"({"version":"1"})",
                           R"({"version":1,"last_worker":1,"last_listener":1,"services":[{}]})"})
    EXPECT_FALSE(decode(text)) << text;
}

TEST(StateCodec, TakesNoNumberForAnother) {
  const auto with = [](const std::string& last_worker) {
    return decode(R"({"version":1,"last_worker":)" + last_worker + R"(,"last_listener":0,"services":[]})")
        .ok();
  };
  EXPECT_TRUE(with("18446744073709551615"));
  for (const char* number : {"18446744073709551616", "-1", "1.5", "1e300", "true", "\"1\"", "null"})
    EXPECT_FALSE(with(number)) << number;
  const std::string told = encode(Told{"web", {}});
  const auto slot = [&told](const std::string& value) {
    auto text = told;
    const std::string member = "\"pid\":0";
    return decode_told(text.replace(text.find(member), member.size(), "\"pid\":" + value)).ok();
  };
  EXPECT_TRUE(slot("2147483647"));
  EXPECT_TRUE(slot("-2147483648"));
  for (const char* number : {"2147483648", "-2147483649", "0.5"}) EXPECT_FALSE(slot(number)) << number;
}

TEST(StateMemory, HoldsTheNewestText) {
  auto memory = Memory::create();
  ASSERT_TRUE(memory);
  EXPECT_EQ(memory->read().error().code, ENODATA);
  for (const char* text : {"one", "two", "three", ""}) {
    ASSERT_TRUE(memory->write(text));
    EXPECT_EQ(*memory->read(), text);
  }
}

TEST(StateMemory, ATornHalfLeavesTheOneBefore) {
  auto memory = Memory::create();
  ASSERT_TRUE(memory->write("first") && memory->write("second"));
  // The second stands in the first half: number 2.
  ASSERT_EQ(::pwrite(memory->fd(), "S", 1, 8192), 1);
  EXPECT_EQ(*memory->read(), "first");
  auto next = Memory::adopt(base::UniqueFd(::dup(memory->fd())));
  ASSERT_TRUE(next->write("third"));
  EXPECT_EQ(*next->read(), "third");
}

TEST(StateMemory, TheDeathOfItsWriterAtAnyMomentLeavesAWholeText) {
  auto memory = Memory::create();
  ASSERT_TRUE(memory->write(std::string(100, '0')));
  for (int round = 0; round < 20; ++round) {
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t writer = ::fork();
    if (writer == 0) {
      for (std::size_t i = 0;; ++i) {
        static_cast<void>(memory->write(std::string(100 + i % 5000, static_cast<char>('0' + i % 10))).ok());
        if (i == 10U * static_cast<std::size_t>(round) && ::write(ready[1], "r", 1) != 1) ::_exit(1);
      }
    }
    char byte;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    ::kill(writer, SIGKILL);
    ::waitpid(writer, nullptr, 0);
    for (const int fd : ready) ::close(fd);
    const auto text = Memory::adopt(base::UniqueFd(::dup(memory->fd())))->read();
    ASSERT_TRUE(text);
    ASSERT_GE(text->size(), 100u);
    EXPECT_EQ(text->find_first_not_of((*text)[0]), std::string::npos);
  }
}

// ---- the history's lines

TEST(StateLines, AreReadAsTheyWereAdded) {
  auto lines = Lines::create();
  ASSERT_TRUE(lines);
  EXPECT_TRUE(lines->read().empty());
  for (const char* line : {"one", "", "three"}) EXPECT_TRUE(lines->append(line));
  EXPECT_EQ(lines->read(), (std::vector<std::string>{"one", "", "three"}));
  auto next = Lines::adopt(base::UniqueFd(::dup(lines->fd())));
  ASSERT_TRUE(next);
  EXPECT_TRUE(next->append("four"));
  EXPECT_EQ(next->read(), (std::vector<std::string>{"one", "", "three", "four"}));
}

TEST(StateLines, ARewriteTakesThePlaceOfAll) {
  auto lines = Lines::create();
  for (const char* round : {"a", "b", "c"}) {
    while (!lines->crowded()) ASSERT_TRUE(lines->append(std::string(1000, 'x')));
    ASSERT_TRUE(lines->rewrite({"kept", round}));
    EXPECT_FALSE(lines->crowded());
    ASSERT_TRUE(lines->append("later"));
    const auto next = Lines::adopt(base::UniqueFd(::dup(lines->fd())));
    EXPECT_EQ(next->read(), (std::vector<std::string>{"kept", round, "later"}));
  }
}

TEST(StateLines, TakeNoMoreThanTheyHavePlaceFor) {
  auto lines = Lines::create();
  ASSERT_TRUE(lines->append("first"));
  EXPECT_FALSE(lines->append(std::string(Lines::half_size - 6, 'x')));
  EXPECT_TRUE(lines->append(std::string(Lines::half_size - 7, 'x')));
  EXPECT_EQ(lines->read().size(), 2u);
  EXPECT_EQ(lines->rewrite({std::string(Lines::half_size, 'x')}).error().code, EMSGSIZE);
  EXPECT_TRUE(lines->rewrite({std::string(Lines::half_size - 1, 'x')}));
}

TEST(StateLines, ATornOneIsNone) {
  auto lines = Lines::create();
  ASSERT_TRUE(lines->append("whole"));
  ASSERT_EQ(::pwrite(lines->fd(), "torn in the middle", 18, 4096 + 6), 18);
  auto next = Lines::adopt(base::UniqueFd(::dup(lines->fd())));
  EXPECT_TRUE(next->append("next"));
  EXPECT_EQ(next->read(), (std::vector<std::string>{"whole", "next"}));
  auto empty = base::UniqueFd(::memfd_create("empty", MFD_CLOEXEC));
  EXPECT_EQ(Lines::adopt(std::move(empty)).error().code, EPROTO);
}

TEST(StateLines, TheDeathOfTheirWriterAtAnyMomentLosesNoWholeOne) {
  for (int round = 0; round < 20; ++round) {
    auto lines = Lines::create();
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t writer = ::fork();
    if (writer == 0) {
      std::vector<std::string> kept;
      for (std::size_t i = 0;; ++i) {
        kept.push_back(std::to_string(i) + std::string(i % 3000, 'x'));
        if (i % 50 == 49) {
          kept.erase(kept.begin(), kept.end() - 10);
          static_cast<void>(lines->rewrite(kept).ok());
        } else if (!lines->append(kept.back())) {
          ::_exit(1);
        }
        if (i == 20U * static_cast<std::size_t>(round) && ::write(ready[1], "r", 1) != 1) ::_exit(1);
      }
    }
    char byte;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    ::kill(writer, SIGKILL);
    ::waitpid(writer, nullptr, 0);
    for (const int fd : ready) ::close(fd);
    const auto found = Lines::adopt(base::UniqueFd(::dup(lines->fd())))->read();
    ASSERT_FALSE(found.empty());
    std::size_t number = std::stoul(found[0]);
    for (const auto& line : found) {
      ASSERT_EQ(line, std::to_string(number) + std::string(number % 3000, 'x'));
      ++number;
    }
    EXPECT_GT(number, 20U * static_cast<std::size_t>(round));
  }
}

TEST(StateCodec, AnEntryOfTheHistoryIsGivenBack) {
  core::HistoryEntry entry;
  entry.number = 7;
  entry.slot = 2;
  entry.what = "worker-started";
  entry.detail = "\"quoted\"";
  entry.instead_of = 5;
  entry.waited_for = "its backoff";
  entry.duration_ms = 12;
  const auto told = decode_told(encode(Told{"web", entry}));
  ASSERT_TRUE(told) << told.error().what;
  EXPECT_EQ(told->service, "web");
  EXPECT_EQ(encode(*told), encode(Told{"web", entry}));
  EXPECT_EQ(told->entry.slot, 2u);
  EXPECT_EQ(told->entry.cut, std::nullopt);
  for (const char* line : {"", "{}", R"({"service":"web"})", "[1]"}) EXPECT_FALSE(decode_told(line));
}

}  // namespace
}  // namespace refork::state

namespace refork::core {
namespace {

// The scene's service in another life.
Service next_life(const Scene& scene, ServiceConfig config, Effects& out) {
  config.name = "web";
  config.command = {"/bin/web"};
  static WorkerId ids = 100;
  Service next(
      std::move(config), [] { return ++ids; }, [] { return 0.0; });
  restore(next, take_snapshot(scene.service), scene.now, out);
  return next;
}

template <class E>
std::size_t count_of(const Effects& out) {
  std::size_t count = 0;
  for (const auto& effect : out) count += std::holds_alternative<E>(effect) ? 1U : 0U;
  return count;
}

TEST(Restore, AServiceGoesOnWhereItWas) {
  Scene scene(Scene::workers(3));
  scene.up();
  scene.fail(2);
  Effects out;
  const Service next = next_life(scene, Scene::workers(3), out);
  EXPECT_EQ(count_of<Spawn>(out), 0u) << "its replacement starts already";
  EXPECT_EQ(next.workers().size(), 4u);
  EXPECT_EQ(next.workers().at(2).state, WorkerState::draining);
  EXPECT_EQ(next.workers().at(2).deadline, scene.worker(2).deadline);
  EXPECT_EQ(next.slots()[1].current, 4u);
  EXPECT_EQ(next.replacements(), scene.service.replacements());
  EXPECT_EQ(next.next(), scene.service.next());
}

TEST(Restore, TheBudgetIsNotFullAgain) {
  auto config = Scene::workers(2);
  config.restart.budget = 1;
  Scene scene(config);
  scene.up();
  scene.fail(1);
  Effects out;
  Service next = next_life(scene, config, out);
  next.on_ready(3, scene.now, out);
  next.on_failure(2, "f2", Then::drain, scene.now, out);
  EXPECT_EQ(next.state(), ServiceState::storm);
}

TEST(Restore, FewerWorkersDrainTheSurplusAndMoreAreStarted) {
  Scene scene(Scene::workers(3));
  scene.up();
  Effects out;
  const Service fewer = next_life(scene, Scene::workers(2), out);
  EXPECT_EQ(fewer.workers().at(3).state, WorkerState::draining);
  EXPECT_EQ(fewer.workers().at(2).state, WorkerState::serving);
  EXPECT_EQ(count_of<OrderDrain>(out), 1u);
  out.clear();
  next_life(scene, Scene::workers(5), out);
  EXPECT_EQ(count_of<Spawn>(out), 2u);
}

TEST(Restore, AReloadUnderWayIsGivenUpAndTheOldGenerationGoesOn) {
  Scene scene(Scene::workers(2));
  scene.up();
  scene.keep(scene.service.reload(scene.now, scene.out));
  Effects out;
  const Service next = next_life(scene, Scene::workers(2), out);
  EXPECT_EQ(next.generation(), 1u);
  EXPECT_EQ(next.slots()[0].current, 1u);
  EXPECT_EQ(next.workers().at(3).wanted_gone, DrainReason::reload);
  EXPECT_THAT(next.why(), testing::HasSubstr("started again"));
}

TEST(Restore, WhatWasStoppedStaysStopped) {
  Scene scene(Scene::workers(1));
  scene.up();
  scene.keep(scene.service.stop(scene.now, scene.out));
  scene.leave(1, 0);
  Effects out;
  EXPECT_EQ(next_life(scene, Scene::workers(1), out).state(), ServiceState::stopped);
  EXPECT_EQ(count_of<Spawn>(out), 0u);
}

TEST(Restore, AWorkerThatNeverRanIsReplacedWithoutAnEnd) {
  Scene scene(Scene::workers(1));
  scene.keep(scene.service.start(scene.now, scene.out));
  Effects out;
  Service next = next_life(scene, Scene::workers(1), out);
  withdraw(next, 1, scene.now, out);
  EXPECT_EQ(count_of<Ended>(out), 0u);
  EXPECT_EQ(count_of<Report>(out), 0u);
  EXPECT_EQ(count_of<Spawn>(out), 1u);
  EXPECT_EQ(next.slots()[0].boot_failures, 0u);
}

// What a service does with the snapshot that `add` has added a worker 9 to.
template <class Add>
Service with_unknown(const Scene& scene, std::uint32_t generation, Add add, Effects& out) {
  auto snapshot = take_snapshot(scene.service);
  add(snapshot, scene.service.config(), 9, 0, generation, scene.now);
  static WorkerId ids = 200;
  Service next(
      scene.service.config(), [] { return ++ids; }, [] { return 0.0; });
  restore(next, std::move(snapshot), scene.now, out);
  return next;
}

TEST(Restore, AWorkerThatWasStartedLastHasItsSlotAndRelievesWhoHadIt) {
  Scene scene(Scene::workers(1));
  scene.up();
  Effects out;
  Service next = with_unknown(scene, 1, add_started, out);
  EXPECT_EQ(next.slots()[0].current, 9u);
  EXPECT_EQ(next.workers().at(9).state, WorkerState::starting);
  EXPECT_EQ(next.workers().at(9).deadline, scene.now + scene.service.config().start_timeout);
  EXPECT_TRUE(superseded(next, 1));
  EXPECT_FALSE(superseded(next, 9));
  relieve(next, 1, scene.now, out);
  EXPECT_FALSE(superseded(next, 1));
  next.on_ready(9, scene.now, out);
  EXPECT_EQ(next.workers().at(1).state, WorkerState::draining) << "once the floor allows it";
  EXPECT_EQ(count_of<Spawn>(out), 0u);
}

TEST(Restore, TheCandidateOfAReloadThatIsForgottenLeavesAndTheOldOneServesOn) {
  Scene scene(Scene::workers(1));
  scene.up();
  Effects out;
  Service next = with_unknown(scene, 2, add_started, out);
  EXPECT_EQ(next.slots()[0].current, 1u);
  EXPECT_FALSE(superseded(next, 1));
  next.on_ready(9, scene.now, out);
  EXPECT_EQ(next.workers().at(9).state, WorkerState::draining);
  EXPECT_EQ(next.workers().at(1).state, WorkerState::serving);
  EXPECT_EQ(count_of<Spawn>(out), 0u);
}

TEST(Restore, AStrangerDrainsByItsDeadlineAndItsSlotIsFilled) {
  Scene scene(Scene::workers(1));
  auto snapshot = take_snapshot(scene.service);
  snapshot.wanted = true;
  add_stranger(snapshot, scene.service.config(), 9, 0, 1, scene.now);
  Effects out;
  Service next(
      scene.service.config(), [] { return WorkerId{10}; }, [] { return 0.0; });
  restore(next, std::move(snapshot), scene.now, out);
  EXPECT_EQ(next.workers().at(9).state, WorkerState::draining);
  EXPECT_EQ(next.workers().at(9).deadline, scene.now + scene.service.config().drain_deadline);
  EXPECT_EQ(next.slots()[0].current, 10u);
  EXPECT_EQ(count_of<Spawn>(out), 1u);
}

}  // namespace
}  // namespace refork::core
