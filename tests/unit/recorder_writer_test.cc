#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "unit/recorder_support.h"

namespace refork::recorder {
namespace {

TEST(Requests, AreNamedWhileTheyAreInFlight) {
  Both recorder;
  const auto token = recorder.writer->begin("GET /search", 42);
  const auto all = recorder.in_flight();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].label, "GET /search");
  EXPECT_EQ(all[0].domain, 42u);
  EXPECT_EQ(all[0].thread, static_cast<std::uint32_t>(::gettid()));
  EXPECT_LT(all[0].age_ms, 60'000u);
  recorder.writer->end(token);
  EXPECT_TRUE(recorder.in_flight().empty());
}

TEST(Requests, AreCountedWithoutAMessage) {
  Both recorder;
  for (int i = 0; i < 5; ++i) recorder.writer->end(recorder.writer->begin("GET /", 0));
  recorder.writer->begin("GET /slow", 0);
  EXPECT_EQ(recorder.counters().served, 5u);
  EXPECT_EQ(recorder.counters().in_flight, 1u);
  EXPECT_EQ(recorder.writer->in_flight(), 1u);
  EXPECT_EQ(recorder.counters().pid, ::getpid());
}

TEST(Requests, EndOnceHoweverOftenTheyAreEnded) {
  Both recorder;
  const auto first = recorder.writer->begin("first", 0);
  recorder.writer->end(first);
  const auto second = recorder.writer->begin("second", 0);  // takes the same entry
  recorder.writer->end(first);
  recorder.writer->end(0);
  ASSERT_EQ(recorder.in_flight().size(), 1u);
  EXPECT_EQ(recorder.in_flight()[0].label, "second");
  recorder.writer->end(second);
  EXPECT_EQ(recorder.counters().served, 2u);
}

TEST(Requests, HaveTokensThatNeverComeAgain) {
  Both recorder;
  std::set<std::uint64_t> tokens = {0};
  for (int i = 0; i < 1000; ++i) {
    const auto token = recorder.writer->begin("", 0);
    EXPECT_TRUE(tokens.insert(token).second);
    recorder.writer->end(token);
  }
}

TEST(Requests, MayEndOnAnotherThread) {
  Both recorder;
  const auto token = recorder.writer->begin("GET /", 0);
  std::thread([&] { recorder.writer->end(token); }).join();
  EXPECT_EQ(recorder.counters().in_flight, 0u);
}

TEST(Requests, BeyondTheTableAreOnlyCounted) {
  Both recorder;
  std::vector<std::uint64_t> tokens;
  for (std::uint32_t i = 0; i < request_count; ++i) tokens.push_back(recorder.writer->begin("named", 0));
  EXPECT_EQ(recorder.in_flight().size(), request_count);
  const auto unnamed = recorder.writer->begin("one too many", 0);
  EXPECT_NE(unnamed, 0u);
  EXPECT_EQ(recorder.in_flight().size(), request_count);
  EXPECT_EQ(recorder.counters().in_flight, request_count + 1u);
  EXPECT_EQ(recorder.writer->in_flight(), request_count + 1u);
  Writer::RequestInfo info;
  EXPECT_FALSE(recorder.writer->describe(unnamed, info));

  recorder.writer->end(unnamed);
  recorder.writer->end(unnamed);  // the count does not fall below what is in flight
  EXPECT_EQ(recorder.counters().in_flight, request_count);
  EXPECT_EQ(recorder.counters().served, 1u);
  for (const auto token : tokens) recorder.writer->end(token);
  EXPECT_EQ(recorder.counters().in_flight, 0u);
}

TEST(Requests, LabelsAreCutAtACharacter) {
  Both recorder;
  const std::string fits(label_size - 1, 'x');
  recorder.writer->begin(fits, 0);
  EXPECT_EQ(recorder.in_flight()[0].label, fits);

  Both other;
  const std::string euro = "\xE2\x82\xAC";
  other.writer->begin(std::string(label_size - 3, 'x') + euro, 0);
  EXPECT_EQ(other.in_flight()[0].label, std::string(label_size - 3, 'x'));
}

TEST(Requests, ANewLabelShowsNothingOfAnOlderOne) {
  Both recorder;
  recorder.writer->end(recorder.writer->begin("a long label, longer than a word", 0));
  recorder.writer->begin("short", 0);
  EXPECT_EQ(recorder.in_flight()[0].label, "short");
}

TEST(Requests, AreDescribedToTheirOwnProcess) {
  Both recorder;
  const auto token = recorder.writer->begin("GET /\xC3\xA4", 0);
  Writer::RequestInfo info;
  ASSERT_TRUE(recorder.writer->describe(token, info));
  EXPECT_STREQ(info.label, "GET /\xC3\xA4");
  recorder.writer->end(token);
  EXPECT_FALSE(recorder.writer->describe(token, info));
  EXPECT_FALSE(recorder.writer->describe(0, info));
}

TEST(Requests, OfAForkedChildBearItsOwnThread) {
  Both recorder;
  recorder.writer->end(recorder.writer->begin("parent", 0));
  const pid_t child = ::fork();
  if (child == 0) {
    recorder.writer->begin("child", 0);
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(recorder.in_flight()[0].thread, static_cast<std::uint32_t>(child));
}

TEST(Records, AreReadInTheOrderTheyWereMade) {
  Both recorder;
  EXPECT_TRUE(recorder.writer->record("{\"n\":1}", 1));
  EXPECT_TRUE(recorder.writer->record("{\"n\":2}", 1));
  recorder.reader.release(0, 1);
  EXPECT_TRUE(recorder.writer->record("{\"n\":3}", 1));  // takes the first slot again
  const auto all = recorder.records();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].json, "{\"n\":2}");
  EXPECT_EQ(all[1].json, "{\"n\":3}");
  EXPECT_EQ(all[1].slot, 0u);
  EXPECT_EQ(all[1].sequence, 3u);
}

TEST(Records, AreFreedOnlyUnderTheirOwnSequence) {
  Both recorder;
  recorder.writer->record("{}", 1);
  recorder.reader.release(0, 2);
  recorder.reader.release(record_count, 1);
  EXPECT_EQ(recorder.records().size(), 1u);
  recorder.reader.release(0, 1);
  recorder.reader.release(0, 1);
  EXPECT_TRUE(recorder.records().empty());
}

TEST(Records, TakeAllOfTheirSlotAndNoMore) {
  Both recorder;
  const std::string largest(sizeof(Record::json), 'x');
  EXPECT_TRUE(recorder.writer->record(largest, 7));
  EXPECT_FALSE(recorder.writer->record(largest + "x", 7));
  ASSERT_EQ(recorder.records().size(), 1u);
  EXPECT_EQ(recorder.records()[0].json, largest);
  EXPECT_EQ(recorder.counters().dropped, 1u);
}

TEST(Records, OfAFullRingAreCountedByFingerprint) {
  Both recorder;
  for (std::uint32_t i = 0; i < record_count; ++i) ASSERT_TRUE(recorder.writer->record("{}", 1));
  EXPECT_FALSE(recorder.writer->record("{}", 7));
  EXPECT_FALSE(recorder.writer->record("{}", 8));
  EXPECT_FALSE(recorder.writer->record("{}", 7));
  const auto dropped = recorder.reader.dropped();
  ASSERT_EQ(dropped.size(), 2u);
  EXPECT_EQ(dropped[0].fingerprint, 7u);
  EXPECT_EQ(dropped[0].count, 2u);
  EXPECT_EQ(dropped[1].count, 1u);
  EXPECT_EQ(recorder.counters().dropped, 3u);

  recorder.reader.release(5, recorder.records()[5].sequence);
  EXPECT_TRUE(recorder.writer->record("{}", 7));
}

TEST(Records, OfMoreFingerprintsThanAreKeptStillCountInTheTotal) {
  Both recorder;
  for (std::uint32_t i = 0; i < record_count; ++i) recorder.writer->record("{}", 1);
  for (std::uint64_t f = 0; f <= dropped_count + 1; ++f) recorder.writer->record("{}", f);
  EXPECT_EQ(recorder.reader.dropped().size(), dropped_count);
  EXPECT_EQ(recorder.counters().dropped, dropped_count + 2u);
}

TEST(Writer, TellsOfTheDrainAndOfWhatCrossed) {
  Both recorder;
  EXPECT_FALSE(recorder.counters().draining);
  recorder.writer->set_draining();
  recorder.writer->crossed();
  EXPECT_TRUE(recorder.counters().draining);
  EXPECT_EQ(recorder.counters().crossed, 1u);
}

TEST(Writer, WorksWithoutReforkd) {
  const auto writer = Writer::make_private();
  ASSERT_TRUE(writer);
  const auto token = (*writer)->begin("GET /", 0);
  EXPECT_EQ((*writer)->in_flight(), 1u);
  EXPECT_TRUE((*writer)->record("{}", 1));
  (*writer)->end(token);
  EXPECT_EQ((*writer)->in_flight(), 0u);
}

base::UniqueFd memory(std::size_t size) {
  base::UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  return fd;
}

TEST(Writer, AttachesToNothingElse) {
  EXPECT_EQ(Writer::attach(memory(total_size)).error().what,
            "the flight recorder cannot be used: it is no flight recorder");
  EXPECT_EQ(Writer::attach(memory(total_size - 1)).error().what,
            "the flight recorder has 1544191 bytes, expected 1544192");
  EXPECT_FALSE(Writer::attach(base::UniqueFd()));
}

}  // namespace
}  // namespace refork::recorder
