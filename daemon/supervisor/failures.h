#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/effects.h"
#include "core/operations.h"
#include "core/records.h"
#include "proto/record.h"
#include "store/store.h"
#include "supervisor/recorder_file.h"

namespace refork::supervisor {

// Whom a record is about; reforkd's own knowledge, whatever the worker claims.
struct Subject {
  std::string service;
  std::uint32_t slot = 0;
  core::WorkerId worker = 0;
  std::int32_t pid = 0;
  std::uint32_t generation = 1;
};

std::uint64_t unix_ms();

// Brings failures and ends to the store, and tells the doors of each new one. What is in a flight recorder is
// freed there only once it is stored.
class Failures {
 public:
  using Announce = std::function<void(const core::FailureRow&)>;
  Failures(store::Store& store, Announce announce) : store_(store), announce_(std::move(announce)) {}

  // Copies what the recorder holds and has not been copied yet; returns how many failures are new.
  std::size_t collect(const Subject& subject, const std::shared_ptr<RecorderFile>& recorder);
  // A failure that only reforkd saw.
  void report(const Subject& subject, Kind kind, const std::string& message, std::uint64_t in_flight);
  // The worker's one end row. Afterwards the recorder is let go, and removed once all it held is stored.
  void end(const Subject& subject, const core::Ended& ended, const std::shared_ptr<RecorderFile>& recorder,
           std::uint64_t served_before_drain);

 private:
  bool add(const Subject& subject, proto::FailureRecord record, std::function<void()> stored);
  store::Store& store_;
  Announce announce_;
  std::uint64_t last_id_ = 0;
};

}  // namespace refork::supervisor
