#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "proto/record.h"

namespace refork::worker {

// Keeps a client that repeats a poison request from flooding reforkd: of identical failures, the first
// `max_single` in a second are records of their own, the others of that second become one record with a
// count. Not thread-safe; time comes in.
class Aggregator {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::uint64_t max_single = 50;
  static constexpr std::chrono::seconds window{1};
  static constexpr std::size_t max_kinds =
      256;  // fingerprints remembered; with more, all are records of their own
  // Records with a count that have left, for amendments that come after them: a failure's handler may take
  // its time, but there are not more of them than threads.
  static constexpr std::size_t max_flushed = 1024;

  // Whether a failure is to be recorded by itself. Otherwise it was counted: `record` was kept, or its id is
  // now that of the record it was added to.
  bool admit(std::uint64_t fingerprint, proto::FailureRecord& record, Clock::time_point now);
  // A record that found no place waits here with those that are counted; false if there is none here either.
  bool postpone(std::uint64_t fingerprint, proto::FailureRecord& record, Clock::time_point now);
  // A later revision of a record: true if it waits here, and was replaced. Otherwise it is to be recorded,
  // with the count of the one it amends.
  bool amend(proto::FailureRecord& record);

  std::optional<Clock::time_point> due() const;  // when flush() will have something
  std::vector<proto::FailureRecord> flush(Clock::time_point now);
  // The last flush: whatever fails from now on is a record of its own.
  std::vector<proto::FailureRecord> close();

 private:
  struct Entry {
    Clock::time_point start;
    std::uint64_t singles = 0;
    std::optional<proto::FailureRecord> collected;
  };
  struct Flushed {
    std::string id;
    std::uint64_t count;
  };
  Entry* entry_of(std::uint64_t fingerprint, Clock::time_point now);
  static void collect(Entry& entry, proto::FailureRecord& record);
  void forget_old(Clock::time_point now);

  std::unordered_map<std::uint64_t, Entry> entries_;
  std::deque<Flushed> flushed_;  // the newest last
  bool closed_ = false;
};

}  // namespace refork::worker
