#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
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

  // Whether a failure is to be recorded by itself. Otherwise it was counted: `record` was kept, or its id is
  // now that of the record it was added to.
  bool admit(std::uint64_t fingerprint, proto::FailureRecord& record, Clock::time_point now);
  // A later revision of a record: true if it waits here, and was replaced.
  bool amend(proto::FailureRecord& record);

  std::optional<Clock::time_point> due() const;  // when flush() will have something
  std::vector<proto::FailureRecord> flush(Clock::time_point now);
  std::vector<proto::FailureRecord> flush_all() { return flush(Clock::time_point::max()); }

 private:
  struct Entry {
    Clock::time_point start;
    std::uint64_t singles = 0;
    std::optional<proto::FailureRecord> collected;
  };
  void forget_old(Clock::time_point now);

  std::unordered_map<std::uint64_t, Entry> entries_;
};

}  // namespace refork::worker
