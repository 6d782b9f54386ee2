#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

// What is kept of failures and ends, as plain values between the supervisor, the store and the bus.
namespace refork::core {

// A failure to be stored; `record` is the JSON of proto::FailureRecord, the other fields repeat what is
// searched by.
struct FailureRow {
  std::string id;
  std::uint32_t revision = 1;
  std::uint64_t time_ms = 0;
  std::string service;
  std::uint32_t slot = 0;
  std::uint64_t worker = 0;
  std::string kind;
  std::string fingerprint;
  std::uint64_t count = 1;
  std::string record;
  std::int32_t pid = 0;
};

// How one process ended; exactly one row each.
struct EndRow {
  std::uint64_t worker = 0;
  std::uint64_t time_ms = 0;
  std::string service;
  std::uint32_t slot = 0;
  std::int32_t pid = 0;
  std::uint32_t generation = 1;
  std::uint64_t lived_ms = 0;
  std::string requested;  // error | operator | reload | recycle | stop, or empty: nobody asked
  std::string outcome;    // clean | deadline | died: of the drain, empty where there was none
  std::string
      cause;  // drained | exit | signal | boot | deadline | killed | lost (ended while no reforkd watched)
  std::optional<int> code, signal;
  bool core = false;
  std::uint64_t served = 0, completed = 0, crossed = 0;
  std::uint64_t cut = 0;
  std::string drain;  // JSON, proto::encode_drain
  std::string exit;   // JSON, proto::encode_exit
};

struct FailureFilter {
  std::string service;                    // empty: all
  std::string kind;                       // empty: all
  std::optional<std::uint64_t> since_ms;  // Unix time
  std::uint32_t limit = 50;               // newest first
};

}  // namespace refork::core
