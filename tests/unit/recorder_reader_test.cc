// What reforkd makes of a recorder that a worker has damaged, by accident or on purpose.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "unit/recorder_support.h"

namespace refork::recorder {
namespace {

TEST(Reader, MakesMemoryThatTheWorkerCannotTruncate) {
  Both recorder;
  EXPECT_NE(::ftruncate(recorder.reader.fd(), 0), 0);
  EXPECT_NE(::ftruncate(recorder.reader.fd(), static_cast<off_t>(2 * total_size)), 0);
  EXPECT_TRUE(::fcntl(recorder.reader.fd(), F_GETFD) & FD_CLOEXEC);
}

TEST(Reader, MakesMemoryWithAllItsPages) {
  Both recorder;
  struct stat status {};
  ASSERT_EQ(::fstat(recorder.reader.fd(), &status), 0);
  EXPECT_EQ(static_cast<std::size_t>(status.st_size), total_size);
  EXPECT_GE(static_cast<std::size_t>(status.st_blocks) * 512, total_size);
}

TEST(Reader, FindsWhatAnEarlierOneLeft) {
  base::UniqueFd left;
  {
    Both recorder;
    recorder.writer->begin("GET /", 0);
    recorder.writer->record("{\"id\":\"1\"}", 1);
    left = same(recorder.reader);
  }
  const auto reader = Reader::adopt(std::move(left));
  ASSERT_TRUE(reader) << reader.error().what;
  const auto identity = reader->identity();
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->worker, 17u);
  EXPECT_EQ(identity->slot, 3u);
  EXPECT_STREQ(identity->service, "web");
  EXPECT_EQ(reader->in_flight()->at(0).label, "GET /");
  EXPECT_EQ(reader->records()->at(0).json, "{\"id\":\"1\"}");
}

TEST(Reader, OneMadeBeforehandIsAssignedToItsWorkerLater) {
  const auto reader = Reader::create(Identity{});
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->identity()->worker, 0u);
  ASSERT_TRUE(reader->assign(web_worker()));
  EXPECT_EQ(reader->identity()->worker, web_worker().worker);
  EXPECT_STREQ(reader->identity()->service, web_worker().service);
  EXPECT_EQ(reader->counters()->in_flight, 0u);
}

TEST(Reader, RefusesAnotherLayout) {
  const auto refused = [](std::size_t offset, std::uint32_t value) {
    Both recorder;
    poke(recorder.reader.fd(), offset, value);
    const auto adopted = Reader::adopt(same(recorder.reader));
    return adopted ? std::string("adopted") : adopted.error().what;
  };
  EXPECT_EQ(refused(offsetof(Header, magic), 0),
            "a flight recorder cannot be used: it is no flight recorder");
  EXPECT_EQ(refused(offsetof(Header, version), 2),
            "a flight recorder cannot be used: it is a flight recorder of version 2, expected version 4");
  for (const std::size_t field :
       {offsetof(Header, header_size), offsetof(Header, request_count), offsetof(Header, request_size),
        offsetof(Header, record_count), offsetof(Header, record_size), offsetof(Header, requests_offset),
        offsetof(Header, records_offset), offsetof(Header, total_size)})
    EXPECT_EQ(refused(field, 0xFFFFFFFF),
              "a flight recorder cannot be used: its header describes another layout than version 4 has");
}

TEST(Reader, ReadsWhatIsLeftOfATruncatedOne) {
  const Reader reader = unsealed();
  const auto odd = std::uint64_t{1};
  poke(reader.fd(), requests_offset, odd);
  poke(reader.fd(), requests_offset + 100 * sizeof(Request), odd);
  // In the middle of an entry: the whole ones before it still count.
  ASSERT_EQ(::ftruncate(reader.fd(), static_cast<off_t>(requests_offset + 50 * sizeof(Request) + 100)), 0);
  EXPECT_EQ(reader.counters()->in_flight, 1u);
  EXPECT_EQ(reader.in_flight()->size(), 1u);
  EXPECT_TRUE(reader.records()->empty());
  ask_everything(reader);

  ASSERT_EQ(::ftruncate(reader.fd(), 0), 0);
  EXPECT_EQ(reader.counters().error().what, "the flight recorder was truncated");
  EXPECT_FALSE(reader.identity());
  EXPECT_FALSE(reader.in_flight());
  EXPECT_FALSE(reader.records());
  EXPECT_EQ(Reader::adopt(same(reader)).error().what,
            "a flight recorder cannot be used: the flight recorder was truncated");
  ask_everything(reader);
}

TEST(Reader, DoesNotFreeARecordIntoATruncatedOne) {
  Both recorder(unsealed());
  ASSERT_EQ(::ftruncate(recorder.reader.fd(), 0), 0);
  recorder.reader.release(0, 0);
  struct stat status {};
  ASSERT_EQ(::fstat(recorder.reader.fd(), &status), 0);
  EXPECT_EQ(status.st_size, 0);
}

TEST(Reader, BelievesNoLength) {
  Both recorder;
  recorder.writer->begin("GET /", 0);
  const auto used = recorder.in_flight().size();
  for (std::uint32_t i = 0; i < request_count; ++i) {
    const std::size_t entry = requests_offset + i * sizeof(Request);
    poke(recorder.reader.fd(), entry + offsetof(Request, label_length), std::uint32_t{0xFFFFFFFF});
  }
  EXPECT_EQ(recorder.in_flight().size(), used);
  EXPECT_EQ(recorder.in_flight()[0].label, "GET /") << "zeros are no text";

  recorder.writer->record("{}", 1);
  recorder.writer->record("{}", 1);
  poke(recorder.reader.fd(), records_offset + offsetof(Record, length),
       static_cast<std::uint32_t>(sizeof(Record::json) + 1));
  EXPECT_EQ(recorder.records().size(), 1u);
  EXPECT_EQ(recorder.reader.torn(), 1u);
}

TEST(Reader, CountsRecordsThatWereTornByDeath) {
  Both recorder;
  recorder.writer->record("{}", 1);
  EXPECT_EQ(recorder.reader.torn(), 0u);
  poke(recorder.reader.fd(), records_offset + sizeof(Record),
       static_cast<std::uint32_t>(RecordState::writing));
  EXPECT_EQ(recorder.reader.torn(), 1u);
  EXPECT_EQ(recorder.records().size(), 1u);
}

TEST(Reader, MakesTextOfAnyLabel) {
  Both recorder;
  recorder.writer->begin(
      "a\xFF\x1B[2J\n\xC2\x9B"
      "b",
      0);
  EXPECT_EQ(recorder.in_flight()[0].label, "a\xEF\xBF\xBD[2Jb");
  Both other;
  other.writer->begin(std::string(label_size, '\xFF'), 0);
  EXPECT_EQ(other.in_flight()[0].label.size(), 3 * (label_size - 1));
}

TEST(Reader, MakesTextOfAnyServiceName) {
  Both recorder;
  const std::string noise(sizeof(Identity::service), '\xFF');
  ASSERT_EQ(::pwrite(recorder.reader.fd(), noise.data(), noise.size(),
                     offsetof(Header, identity) + offsetof(Identity, service)),
            static_cast<ssize_t>(noise.size()));
  EXPECT_LT(std::strlen(recorder.reader.identity()->service), sizeof(Identity::service));
}

TEST(Reader, AStartInTheFutureIsNoAge) {
  Both recorder;
  recorder.writer->begin("GET /", 0);
  std::size_t entry = requests_offset;
  for (std::uint64_t state = 0;; entry += sizeof(Request)) {
    ASSERT_EQ(::pread(recorder.reader.fd(), &state, sizeof state, static_cast<off_t>(entry)), 8);
    if (state == 1) break;
  }
  poke(recorder.reader.fd(), entry + offsetof(Request, start_ns), ~std::uint64_t{0});
  EXPECT_EQ(recorder.in_flight()[0].age_ms, 0u);
}

TEST(Reader, NamesTheOldestRequestFirst) {
  Both recorder;
  for (std::uint64_t i = 0; i < 3; ++i) {
    const std::size_t entry = requests_offset + i * sizeof(Request);
    poke(recorder.reader.fd(), entry, std::uint64_t{1});
    poke(recorder.reader.fd(), entry + offsetof(Request, start_ns), std::uint64_t{1'000'000'000} * (3 - i));
    poke(recorder.reader.fd(), entry + offsetof(Request, domain), i);
  }
  const auto all = recorder.in_flight();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].domain, 2u);
  EXPECT_EQ(all[2].domain, 0u);
}

TEST(Reader, SurvivesOnes) {
  const auto reader = Reader::create(web_worker());
  ASSERT_TRUE(reader);
  const std::vector<char> ones(total_size, '\xFF');
  ASSERT_EQ(::pwrite(reader->fd(), ones.data(), ones.size(), 0), static_cast<ssize_t>(ones.size()));
  ask_everything(*reader);
  EXPECT_EQ(reader->in_flight()->size(), request_count);
  EXPECT_EQ(reader->torn(), record_count);
}

TEST(Reader, SurvivesNoise) {
  const auto reader = Reader::create(web_worker());
  ASSERT_TRUE(reader);
  std::mt19937 random(20241122);
  std::vector<std::uint32_t> noise(total_size / 4);
  for (auto& word : noise) word = static_cast<std::uint32_t>(random());
  ASSERT_EQ(::pwrite(reader->fd(), noise.data(), total_size, 0), static_cast<ssize_t>(total_size));
  ask_everything(*reader);
}

}  // namespace
}  // namespace refork::recorder
