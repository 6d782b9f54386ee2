// From a captured failure to a line that survives the process. The only one to write records.

#include "worker/failure_log.h"

#include <unistd.h>

#include <charconv>
#include <cstring>

#include "worker/failure_record.h"
#include "worker/frames.h"
#include "worker/standalone.h"

namespace refork::worker {
namespace {

std::uint64_t from_hex(const std::string& text) noexcept {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

// Failures that the worker's author judged differently are not the same failure.
std::uint64_t sameness(const proto::FailureRecord& record) noexcept {
  return from_hex(record.fingerprint) ^ static_cast<std::uint64_t>(record.then);
}

}  // namespace

proto::FailureRecord FailureLog::complete(const Failure& failure, Then then, std::uint64_t request) const {
  auto record = make_record(failure, then);
  recorder::Writer::RequestInfo info{};
  if (request != 0 && writer_.describe(request, info))
    record.request = proto::RequestRef{info.label, info.age_ms};
  record.in_flight_at_failure = writer_.in_flight();
  return record;
}

void FailureLog::warm_up() const noexcept {
  try {
    proto::FailureRecord record;
    record.stack = describe_frames({__builtin_return_address(0)});
    record.in_flight_at_failure = writer_.in_flight();
    proto::encode(record);
    proto::encode(proto::FailureNote{});
  } catch (...) {
    // Then the first failure takes a little longer.
  }
}

bool FailureLog::counted(proto::FailureRecord& record, Aggregator::Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (record.revision > 1) return aggregator_.amend(record);
  return !aggregator_.admit(sameness(record), record, now);
}

// False: the flight recorder is full.
bool FailureLog::put_down(const proto::FailureRecord& record, std::uint32_t spare) {
  if (to_ == To::recorder) return writer_.try_record(proto::encode(record), spare);
  proto::FailureRecord shown = record;
  redactor_.apply(shown);
  write_line(proto::encode(shown));
  return true;
}

// What finds no place is tried again with those that are counted, so that a burst of many kinds loses none.
void FailureLog::put_down_or_keep(proto::FailureRecord& record, Aggregator::Clock::time_point now,
                                  std::uint32_t spare) {
  if (put_down(record, spare)) return;
  {
    const std::lock_guard lock(mutex_);
    if (record.revision == 1 && aggregator_.postpone(sameness(record), record, now)) return;
  }
  writer_.record(proto::encode(record), from_hex(record.fingerprint));
}

std::optional<proto::FailureNote> FailureLog::put_down_minimal(Failure& failure, Then then) noexcept {
  MinimalRecord record;
  make_minimal_record(record, failure);
  if (to_ == To::standard_error)
    write_line({record.json, record.length});
  else
    writer_.record({record.json, record.length}, fingerprint(failure.type, {}));
  try {
    failure.id = record.id;
    return proto::FailureNote{record.id, then};
  } catch (...) {
    return std::nullopt;  // reforkd finds the record at the worker's end
  }
}

std::optional<proto::FailureNote> FailureLog::record(Failure& failure, Then then,
                                                     std::uint64_t request) noexcept {
  try {
    auto record = complete(failure, then, request);
    const auto now = Aggregator::Clock::now();
    const bool last_word = record.kind == Kind::terminate;
    const bool only_counted = !last_word && counted(record, now);
    if (!only_counted) put_down_or_keep(record, now, places_for_counts);
    failure.id = record.id;
    if (last_word) close();
    if (only_counted) return std::nullopt;
    return proto::FailureNote{record.id, then};
  } catch (...) {
    return put_down_minimal(failure, then);
  }
}

template <class Take>
std::vector<proto::FailureNote> FailureLog::put_down_all(Take take,
                                                         Aggregator::Clock::time_point now) noexcept {
  std::vector<proto::FailureNote> notes;
  try {
    std::vector<proto::FailureRecord> records;
    {
      const std::lock_guard lock(mutex_);
      records = take(aggregator_);
    }
    for (auto& record : records) {
      put_down_or_keep(record, now, 0);
      notes.push_back({record.id, record.then});
    }
  } catch (...) {  // no memory: what was counted here is lost, what was recorded is not
  }
  return notes;
}

std::vector<proto::FailureNote> FailureLog::flush(Aggregator::Clock::time_point now) noexcept {
  return put_down_all([now](Aggregator& aggregator) { return aggregator.flush(now); }, now);
}

std::vector<proto::FailureNote> FailureLog::close() noexcept {
  return put_down_all([](Aggregator& aggregator) { return aggregator.close(); }, Aggregator::Clock::now());
}

std::optional<Aggregator::Clock::time_point> FailureLog::flush_due() const noexcept {
  const std::lock_guard lock(mutex_);
  return aggregator_.due();
}

}  // namespace refork::worker
