#pragma once

#include <mutex>
#include <optional>
#include <vector>

#include "proto/messages.h"
#include "proto/redact.h"
#include "recorder/writer.h"
#include "worker/aggregator.h"

namespace refork::worker {

// Where failures are put down: in the flight recorder, or on stderr as one JSON line where no reforkd reads
// it. Thread-safe; never throws, never waits.
class FailureLog {
 public:
  // Places of the flight recorder that single failures leave to those with a count, so that a burst of
  // several kinds is counted to the last one even if the process ends in the middle of it.
  static constexpr std::uint32_t places_for_counts = 12;

  enum class To {
    recorder,
    standard_error
  };
  // On stderr the usual secrets are hidden, and queries unless `show_query`; otherwise that is reforkd's
  // part.
  FailureLog(recorder::Writer& writer, To to, bool show_query)
      : writer_(writer),
        to_(to),
        redactor_(show_query ? proto::Redactor().showing_query() : proto::Redactor()) {}

  // A worker's first failure is mostly its last: what recording one needs is paged in and bound beforehand.
  void warm_up() const noexcept;

  // Sets failure.id. The nudge to send about it; none if it was only counted.
  std::optional<proto::FailureNote> record(Failure& failure, Then then, std::uint64_t request) noexcept;

  // Identical failures that were counted are put down together.
  std::vector<proto::FailureNote> flush(Aggregator::Clock::time_point now) noexcept;
  // The last time, as the process ends: whatever fails from now on is put down at once.
  std::vector<proto::FailureNote> close() noexcept;
  std::optional<Aggregator::Clock::time_point> flush_due() const noexcept;

 private:
  proto::FailureRecord complete(const Failure& failure, Then then, std::uint64_t request) const;
  bool counted(proto::FailureRecord& record, Aggregator::Clock::time_point now);
  bool put_down(const proto::FailureRecord& record, std::uint32_t spare);
  void put_down_or_keep(proto::FailureRecord& record, Aggregator::Clock::time_point now, std::uint32_t spare);
  template <class Take>
  std::vector<proto::FailureNote> put_down_all(Take take, Aggregator::Clock::time_point now) noexcept;
  std::optional<proto::FailureNote> put_down_minimal(Failure& failure, Then then) noexcept;

  recorder::Writer& writer_;
  const To to_;
  const proto::Redactor redactor_;
  mutable std::mutex mutex_;
  Aggregator aggregator_;
};

}  // namespace refork::worker
