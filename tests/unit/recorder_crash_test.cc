// What a recorder tells of a process's threads: beats, stacks, the fatal signal; and what is left of it when
// a worker lies.

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <thread>

#include "unit/recorder_support.h"

namespace refork::recorder {
namespace {

std::uint32_t this_thread() { return static_cast<std::uint32_t>(::gettid()); }

void advance(CrashSlot& slot, CrashState state) { slot.state.store(static_cast<std::uint32_t>(state)); }

// A crash as a handler writes it, with one frame in a module and one outside of all.
CrashSlot& write_crash(Writer& writer) {
  CrashSlot& slot = *writer.take_crash();
  slot.signal = SIGSEGV;
  slot.code = 1;
  slot.address = 0x10;
  slot.thread = 42;
  slot.time_ms = 1700000000000;
  advance(slot, CrashState::known);
  slot.has_request = 1;
  slot.age_ms = 7;
  slot.in_flight = 3;
  std::strcpy(slot.label, "GET /crash");
  slot.label_length.store(10);
  std::strcpy(slot.domains, "inner\nhttp\n");
  slot.domains_length.store(11);
  const unsigned char build_id[] = {0xab, 0x01};
  slot.frames[0] = {0x1234, writer.add_module("/usr/bin/server", build_id, 2, 0x400000), 0};
  slot.frames[1] = {0xdead, no_module, 0};
  slot.frame_count.store(2);
  return slot;
}

TEST(Crashes, AreToldWithAllThatTheHandlerWrote) {
  Both recorder;
  EXPECT_FALSE(recorder.reader.crash());
  advance(write_crash(*recorder.writer), CrashState::complete);
  const auto crash = recorder.reader.crash();
  ASSERT_TRUE(crash);
  EXPECT_TRUE(crash->complete);
  EXPECT_EQ(crash->signal, SIGSEGV);
  EXPECT_EQ(crash->code, 1);
  EXPECT_EQ(crash->address, 0x10u);
  EXPECT_EQ(crash->sender, 0);
  EXPECT_EQ(crash->thread, 42u);
  EXPECT_EQ(crash->time_ms, 1700000000000u);
  EXPECT_FALSE(crash->contained);
  EXPECT_TRUE(crash->has_request);
  EXPECT_EQ(crash->label, "GET /crash");
  EXPECT_EQ(crash->age_ms, 7u);
  EXPECT_EQ(crash->in_flight, 3u);
  EXPECT_EQ(crash->domains, (std::vector<std::string>{"inner", "http"}));
  ASSERT_EQ(crash->frames.size(), 2u);
  EXPECT_EQ(crash->frames[0].module, "/usr/bin/server");
  EXPECT_EQ(crash->frames[0].build_id, "ab01");
  EXPECT_EQ(crash->frames[0].offset, 0x1234u);
  EXPECT_EQ(crash->frames[1].module, "");
  EXPECT_EQ(crash->frames[1].offset, 0xdeadu);
}

TEST(Crashes, HaveAsManyPlacesAsThereAre) {
  Both recorder;
  for (std::uint32_t i = 0; i < crash_count; ++i) {
    CrashSlot* slot = recorder.writer->take_crash();
    ASSERT_NE(slot, nullptr);
    slot->signal = static_cast<int>(i);
    if (i != 1) advance(*slot, CrashState::complete);
  }
  EXPECT_EQ(recorder.writer->take_crash(), nullptr);
  const auto all = recorder.reader.crashes();
  ASSERT_EQ(all.size(), crash_count - 1) << "one of them is being written";
  EXPECT_EQ(all[1].slot, 2u);
  EXPECT_EQ(all[1].signal, 2);
}

TEST(Crashes, AreToldAsSoonAsTheFaultIsKnown) {
  Both recorder;
  CrashSlot& slot = write_crash(*recorder.writer);
  advance(slot, CrashState::writing);
  EXPECT_FALSE(recorder.reader.crash()) << "nothing was said yet";
  advance(slot, CrashState::known);
  const auto crash = recorder.reader.crash();
  ASSERT_TRUE(crash);
  EXPECT_FALSE(crash->complete) << "its handler did not come to its end";
  EXPECT_EQ(crash->signal, SIGSEGV);
}

TEST(Crashes, CannotLieAboutLengthsCountsAndIndices) {
  Both recorder;
  CrashSlot& slot = write_crash(*recorder.writer);
  advance(slot, CrashState::complete);
  for (const std::uint32_t lie : {0xFFFFFFFFu, 0x80000000u, std::uint32_t{crash_domains} + 1}) {
    slot.label_length.store(lie);
    slot.domains_length.store(lie);
    slot.frame_count.store(lie);
    slot.frames[0].module = lie;
    const auto crash = recorder.reader.crash();
    ASSERT_TRUE(crash);
    EXPECT_EQ(crash->frames.size(), crash_frames);
    EXPECT_EQ(crash->frames[0].module, "");
    EXPECT_EQ(crash->label, "GET /crash") << "zeros are no text";
    EXPECT_LE(crash->domains.size(), 3u);
  }
  for (const std::uint32_t state : {4u, 0xFFFFFFFFu}) {
    slot.state.store(state);
    EXPECT_FALSE(recorder.reader.crash()) << state;
  }
}

TEST(Crashes, OfNoSignalOrByNobodyAreToldSo) {
  Both recorder;
  CrashSlot& slot = write_crash(*recorder.writer);
  advance(slot, CrashState::complete);
  for (const std::int32_t signal : {-1, 0, 65, std::numeric_limits<std::int32_t>::min()}) {
    slot.signal = slot.sender = signal;
    EXPECT_EQ(recorder.reader.crash()->signal, 0) << signal;
    EXPECT_EQ(recorder.reader.crash()->sender, std::max(signal, 0)) << signal;
  }
  for (const std::int32_t signal : {1, 64}) {
    slot.signal = signal;
    EXPECT_EQ(recorder.reader.crash()->signal, signal);
  }
}

TEST(Crashes, AreTextThatCanBeShown) {
  Both recorder;
  CrashSlot& slot = write_crash(*recorder.writer);
  std::memset(slot.label, 0xFF, sizeof slot.label);
  std::memset(slot.domains, '\n', sizeof slot.domains);
  std::strcpy(slot.domains, "\x1B[2J\nb");
  slot.label_length.store(label_size);
  slot.domains_length.store(7);
  advance(slot, CrashState::complete);
  const auto crash = recorder.reader.crash();
  EXPECT_EQ(crash->label.size(), 3 * label_size);
  EXPECT_EQ(crash->domains, (std::vector<std::string>{"[2J", "b"}));
}

TEST(Modules, ThatLieAreCutToTheirPlace) {
  Both recorder;
  advance(write_crash(*recorder.writer), CrashState::complete);
  const int fd = recorder.reader.fd();
  poke(fd, modules_offset + offsetof(ModuleSlot, build_id_length), 0xFFFFFFFFu);
  poke(fd, modules_offset + offsetof(ModuleSlot, path_length), 0xFFFFFFFFu);
  auto frames = recorder.reader.crash()->frames;
  EXPECT_EQ(frames[0].module, "/usr/bin/server");
  EXPECT_EQ(frames[0].build_id.size(), 2 * module_build_id_size);
  poke(fd, modules_offset, 2u);
  frames = recorder.reader.crash()->frames;
  EXPECT_EQ(frames[0].module, "") << "it is not written yet";
}

TEST(Modules, HaveAsManyPlacesAsThereAre) {
  Both recorder;
  for (std::uint32_t i = 0; i < module_count; ++i)
    EXPECT_EQ(recorder.writer->add_module(std::string(2 * module_path_size, 'x'), nullptr, 0, 0), i);
  EXPECT_EQ(recorder.writer->add_module("/one/too/many", nullptr, 0, 0), no_module);
}

TEST(Beats, AreThoseOfThreadsThatLive) {
  Both recorder;
  EXPECT_TRUE(recorder.reader.beats().empty());
  recorder.writer->beat();
  recorder.writer->beat();
  auto beats = recorder.reader.beats();
  ASSERT_EQ(beats.size(), 1u);
  EXPECT_EQ(beats[0].thread, this_thread());
  EXPECT_LT(beats[0].age_ms, 60'000u);
  std::thread([&] {
    recorder.writer->beat();
    EXPECT_EQ(recorder.reader.beats().size(), 2u);
  }).join();
  EXPECT_EQ(recorder.reader.beats().size(), 1u) << "who has ended is not missed";
}

TEST(Beats, OfMoreThreadsThanThereArePlacesAreNotNoted) {
  Both recorder;
  for (std::uint32_t i = 0; i < beat_count; ++i)
    poke(recorder.reader.fd(), offsetof(Header, beats) + i * sizeof(BeatSlot), std::uint32_t{1});
  std::thread([&] { recorder.writer->beat(); }).join();
  EXPECT_TRUE(recorder.reader.beats().empty());
}

TEST(Beats, FromTheFutureAreNew) {
  Both recorder;
  std::thread([&] {
    recorder.writer->beat();
    poke(recorder.reader.fd(), offsetof(Header, beats) + offsetof(BeatSlot, at_ns), ~std::uint64_t{0});
    EXPECT_EQ(recorder.reader.beats().at(0).age_ms, 0u);
  }).join();
}

TEST(Stacks, AreAnsweredOncePerDemandByEachThread) {
  Both recorder;
  EXPECT_EQ(recorder.writer->take_stack(7), nullptr) << "nobody asked";
  EXPECT_FALSE(recorder.reader.answers_stacks());
  recorder.writer->set_answers_stacks(true);
  EXPECT_TRUE(recorder.reader.answers_stacks());

  const auto demand = recorder.reader.want_stacks();
  ASSERT_TRUE(demand);
  ThreadSlot* slot = recorder.writer->take_stack(7);
  ASSERT_NE(slot, nullptr);
  std::strcpy(slot->name, "worker");
  slot->frames[0] = {0x99, no_module, 0};
  slot->frame_count.store(1);
  EXPECT_TRUE(recorder.reader.thread_stacks().empty()) << "it is being written";
  recorder.writer->finish_stack(*slot);
  EXPECT_EQ(recorder.writer->stacks_answered(*demand), 1u);
  EXPECT_EQ(recorder.writer->take_stack(7), nullptr);

  const auto stacks = recorder.reader.thread_stacks();
  ASSERT_EQ(stacks.size(), 1u);
  EXPECT_EQ(stacks[0].tid, 7u);
  EXPECT_EQ(stacks[0].name, "worker");
  EXPECT_EQ(stacks[0].request_label, "");
  ASSERT_EQ(stacks[0].frames.size(), 1u);
  EXPECT_EQ(stacks[0].frames[0].offset, 0x99u);

  EXPECT_EQ(recorder.writer->want_stacks(), *demand + 1);
  EXPECT_TRUE(recorder.reader.thread_stacks().empty()) << "what was said before is no answer to it";
  EXPECT_NE(recorder.writer->take_stack(7), nullptr);
}

TEST(Stacks, NameTheRequestThatTheThreadHandlesUntilItEnds) {
  Both recorder;
  const auto token = recorder.writer->begin("GET /slow", 0);
  EXPECT_EQ(recorder.writer->request_of(this_thread(), true), token);
  recorder.writer->want_stacks();
  ThreadSlot& slot = *recorder.writer->take_stack(this_thread());
  slot.request = Writer::index_of_token(token);
  slot.request_state = Writer::state_of_token(token);
  recorder.writer->finish_stack(slot);
  EXPECT_EQ(recorder.reader.thread_stacks().at(0).request_label, "GET /slow");
  recorder.writer->end(token);
  recorder.writer->begin("GET /other", 0);
  EXPECT_EQ(recorder.reader.thread_stacks().at(0).request_label, "");
  slot.request = 0xFFFFFFFF;
  EXPECT_EQ(recorder.reader.thread_stacks().at(0).request_label, "");
}

TEST(Stacks, HaveAsManyPlacesAsThereAre) {
  Both recorder;
  recorder.writer->want_stacks();
  for (std::uint32_t i = 1; i <= thread_count; ++i) {
    ThreadSlot* slot = recorder.writer->take_stack(i);
    ASSERT_NE(slot, nullptr);
    slot->frame_count.store(0xFFFFFFFF);
    std::memset(slot->name, 'x', sizeof slot->name);
    recorder.writer->finish_stack(*slot);
  }
  EXPECT_EQ(recorder.writer->take_stack(thread_count + 1), nullptr);
  const auto stacks = recorder.reader.thread_stacks();
  ASSERT_EQ(stacks.size(), thread_count);
  EXPECT_EQ(stacks[0].frames.size(), thread_frames);
  EXPECT_EQ(stacks[0].name.size(), thread_name_size);
}

TEST(Requests, OfAThreadAreFoundByIt) {
  Both recorder;
  EXPECT_EQ(recorder.writer->request_of(this_thread(), false), 0u);
  recorder.writer->begin("GET /first", 0);
  recorder.writer->begin("GET /second", 0);
  EXPECT_EQ(recorder.writer->request_of(this_thread(), true), 0u) << "it is not known which";
  EXPECT_NE(recorder.writer->request_of(this_thread(), false), 0u);
  EXPECT_EQ(recorder.writer->request_of(1, false), 0u);
}

TEST(Requests, MayHaveATimeoutOfTheirOwn) {
  Both recorder;
  const auto token = recorder.writer->begin("GET /report", 0, 1500);
  EXPECT_EQ(recorder.in_flight().at(0).timeout_ms, 1500u);
  recorder.writer->set_timeout(token, 20);
  EXPECT_EQ(recorder.in_flight().at(0).timeout_ms, 20u);
  recorder.writer->end(token);
  const auto next = recorder.writer->begin("GET /", 0);
  recorder.writer->set_timeout(token, 20);
  EXPECT_EQ(recorder.in_flight().at(0).timeout_ms, 0u) << "that of an earlier request is not its own";
  recorder.writer->end(next);
}

TEST(Reader, TakesAMemfdThatWasKept) {
  base::UniqueFd kept;
  {
    Both recorder;
    recorder.writer->begin("GET /", 0);
    kept = base::UniqueFd(::fcntl(recorder.reader.fd(), F_DUPFD_CLOEXEC, 0));
  }
  const auto reader = Reader::adopt(std::move(kept));
  ASSERT_TRUE(reader) << reader.error().what;
  EXPECT_EQ(reader->in_flight()->size(), 1u);
}

TEST(Reader, TakesNothingElse) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const base::UniqueFd other(ends[1]);
  EXPECT_EQ(Reader::adopt(base::UniqueFd(ends[0])).error().what,
            "a flight recorder cannot be used: it is not even a file");
  base::UniqueFd empty(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(Reader::adopt(std::move(empty)).error().what,
            "a flight recorder cannot be used: the flight recorder was truncated");
  EXPECT_FALSE(Reader::adopt(base::UniqueFd()));
}

TEST(Reader, MakesMemoryThatTheWorkerCannotSeal) {
  Both recorder;
  EXPECT_NE(::fcntl(recorder.reader.fd(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
  EXPECT_TRUE(recorder.reader.want_stacks());
}

}  // namespace
}  // namespace refork::recorder
