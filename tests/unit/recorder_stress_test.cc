// Many threads in one recorder, with a reader that looks on.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "unit/recorder_support.h"

namespace refork::recorder {
namespace {

constexpr int threads = 8;
constexpr int rounds = 5000;

template <class F>
void on_all_threads(F work) {
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t) all.emplace_back([&work, t] { work(t); });
  for (auto& thread : all) thread.join();
}

TEST(RecorderStress, NoRequestIsLostOrCountedTwice) {
  Both recorder;
  std::atomic<int> wrong{0};
  on_all_threads([&](int t) {
    const std::string label = "thread " + std::to_string(t);
    std::vector<std::uint64_t> open;
    for (int i = 0; i < rounds; ++i) {
      open.push_back(recorder.writer->begin(label, static_cast<std::uint64_t>(t)));
      Writer::RequestInfo info;
      if (!recorder.writer->describe(open.back(), info) || info.label != label) ++wrong;
      if (open.size() < 4) continue;
      recorder.writer->end(open.front());
      recorder.writer->end(open.front());
      open.erase(open.begin());
    }
    for (const auto token : open) recorder.writer->end(token);
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(recorder.counters().served, static_cast<std::uint64_t>(threads * rounds));
  EXPECT_EQ(recorder.counters().in_flight, 0u);
}

TEST(RecorderStress, AnOverfullTableStillCountsRight) {
  Both recorder;
  on_all_threads([&](int) {
    std::vector<std::uint64_t> open;
    for (std::uint32_t i = 0; i < request_count / 4; ++i) open.push_back(recorder.writer->begin("", 0));
    for (const auto token : open) recorder.writer->end(token);
  });
  EXPECT_EQ(recorder.counters().served, threads * request_count / 4u);
  EXPECT_EQ(recorder.counters().in_flight, 0u);
}

TEST(RecorderStress, WhoeverLooksAtAnotherThreadsRequestSeesItsLabelOrNothing) {
  Both recorder;
  std::atomic<std::uint64_t> shared{0};
  std::atomic<int> wrong{0}, running{threads / 2};
  on_all_threads([&](int t) {
    if (t % 2 == 0) {
      for (int i = 0; i < rounds; ++i) {
        const auto token =
            recorder.writer->begin(i % 2 == 0 ? "aaaaaaaaaaaaaaaaaaaa" : "bbbbbbbbbbbbbbbbbbbb", 0);
        shared = token;
        recorder.writer->end(token);
      }
      --running;
      return;
    }
    Writer::RequestInfo info;
    while (running > 0) {
      if (!recorder.writer->describe(shared, info)) continue;
      const std::string label = info.label;
      if (label != std::string(20, 'a') && label != std::string(20, 'b')) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(RecorderStress, EachRecordIsReadOnceOrCountedAsDropped) {
  Both recorder;
  std::atomic<int> stored{0}, running{threads - 1};
  std::atomic<int> read{0};
  constexpr int records = 200;
  const auto drain_ring = [&] {
    for (const auto& record : *recorder.reader.records()) {
      EXPECT_EQ(record.json, std::string(record.json.size(), record.json[0]));
      recorder.reader.release(record.slot, record.sequence);
      ++read;
    }
  };
  on_all_threads([&](int t) {
    if (t == 0) {
      while (running > 0) drain_ring();
      return;
    }
    for (int i = 0; i < records; ++i)
      if (recorder.writer->record(std::string(static_cast<std::size_t>(100 + i), static_cast<char>('a' + t)),
                                  1))
        ++stored;
    --running;
  });
  drain_ring();
  EXPECT_EQ(read, stored);
  EXPECT_EQ(recorder.counters().dropped, static_cast<std::uint64_t>((threads - 1) * records - stored));
}

// Memory of the worker's own, which it changes while it is looked at.
class Mapping {
 public:
  explicit Mapping(int fd) : words_(::mmap(nullptr, total_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) {
    EXPECT_NE(words_, MAP_FAILED);
  }
  ~Mapping() { ::munmap(words_, total_size); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  std::atomic<std::uint32_t>& word(std::size_t index) const {
    return static_cast<std::atomic<std::uint32_t>*>(words_)[index % (total_size / 4)];
  }

 private:
  void* words_;
};

// Small numbers are states and lengths that are believed, large ones lengths that must not be.
std::uint32_t lie(std::mt19937& random) {
  return random() % 4 == 0 ? static_cast<std::uint32_t>(random()) : static_cast<std::uint32_t>(random() % 8);
}

// A word that says how much else is to be believed, more often than not: of an entry of one of the tables, or
// of what the worker writes into the header.
std::size_t place_of_lie(std::mt19937& random) {
  const auto entry = [&random](std::size_t table, std::size_t size, std::size_t count, std::size_t words) {
    return (table + random() % count * size) / 4 + random() % words;
  };
  switch (random() % 6) {
    case 0:
      return entry(offsetof(Header, pid), 4, (sizeof(Header) - offsetof(Header, pid)) / 4, 1);
    case 1:
      return entry(requests_offset, sizeof(Request), request_count, 8);
    case 2:
      return entry(records_offset, sizeof(Record), record_count, 2);
    case 3:
      return entry(crash_offset, sizeof(CrashSlot), crash_count, 20);
    case 4:
      return entry(threads_offset, sizeof(ThreadSlot), thread_count, 16);
    default:
      return random();
  }
}

TEST(RecorderStress, AWorkerThatLiesWhileItIsReadGivesNothingBeyondTheBounds) {
  Both recorder;
  const Mapping mapping(recorder.reader.fd());
  std::atomic<bool> over{false};
  std::vector<std::thread> liars;
  for (const unsigned seed : {1u, 2u})
    liars.emplace_back([&, seed] {
      std::mt19937 random(seed);
      while (!over) mapping.word(place_of_lie(random)) = lie(random);
    });
  for (int i = 0; i < 50; ++i) ask_everything(recorder.reader);
  over = true;
  for (auto& liar : liars) liar.join();
  ask_everything(recorder.reader);
}

}  // namespace
}  // namespace refork::recorder
