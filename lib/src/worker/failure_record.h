#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/record.h"

namespace refork::worker {

// Ids of records, made without asking anybody: Unix time in ms, the process's random word, a counter; in hex,
// joined by dashes, so that sorted ids are in order of time. Thread-safe.
std::string make_record_id(std::uint64_t unix_ms);

std::uint64_t unix_time_ms() noexcept;

// proto::fingerprint() by place: names are found out by reforkd.
std::uint64_t fingerprint(std::string_view type, const std::vector<proto::Frame>& stack) noexcept;

// Whether it amends the record of the error whose handler failed, rather than being one of its own.
bool amends(const Failure& failure) noexcept;

// A captured failure in the shape of its record: id, fingerprint and stack are filled in; request and
// in_flight are the caller's.
proto::FailureRecord make_record(const Failure& failure, Then then);

// A record that needs no memory, for when it has run out: id, kind and type only.
struct MinimalRecord {
  char id[48];
  char json[1024];
  std::size_t length = 0;
};
void make_minimal_record(MinimalRecord& record, const Failure& failure) noexcept;

}  // namespace refork::worker
