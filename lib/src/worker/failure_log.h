#pragma once

#include <mutex>
#include <optional>
#include <vector>

#include "proto/messages.h"
#include "recorder/writer.h"
#include "worker/aggregator.h"

namespace refork::worker {

// Where failures are put down: in the flight recorder, or on stderr as one JSON line where no reforkd reads
// it. Thread-safe; never throws, never waits.
class FailureLog {
 public:
  enum class To {
    recorder,
    standard_error
  };
  FailureLog(recorder::Writer& writer, To to) noexcept : writer_(writer), to_(to) {}

  // A worker's first failure is mostly its last: what recording one needs is paged in and bound beforehand.
  void warm_up() const noexcept;

  // Sets failure.id. The nudge to send about it; none if it was only counted.
  std::optional<proto::FailureNote> record(Failure& failure, Then then, std::uint64_t request) noexcept;

  // Identical failures that were counted are put down together.
  std::vector<proto::FailureNote> flush(Aggregator::Clock::time_point now) noexcept;
  std::optional<Aggregator::Clock::time_point> flush_due() const noexcept;

 private:
  proto::FailureRecord complete(const Failure& failure, Then then, std::uint64_t request) const;
  bool counted(proto::FailureRecord& record);
  void put_down(const proto::FailureRecord& record);
  std::optional<proto::FailureNote> put_down_minimal(Failure& failure, Then then) noexcept;

  recorder::Writer& writer_;
  const To to_;
  mutable std::mutex mutex_;
  Aggregator aggregator_;
};

}  // namespace refork::worker
