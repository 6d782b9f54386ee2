// Many threads in one recorder, with a reader that looks on.

#include <gtest/gtest.h>

#include <atomic>
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

}  // namespace
}  // namespace refork::recorder
