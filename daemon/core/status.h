#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/enum_names.h"
#include "core/event_types.h"
#include "proto/messages.h"

// What the operator sees, as plain values: made by the supervisor, published by the bus.
namespace refork::core {

enum class ServiceState {
  starting,
  running,
  degraded,
  storm,
  reloading,
  stopping,
  stopped
};

struct WorkerStatus {
  std::uint64_t id = 0;  // 0: a slot without a worker (state `backoff`)
  std::uint32_t slot = 0;
  std::int32_t pid = 0;
  std::string state;  // a proto::WorkerState, or "backoff"
  std::uint32_t generation = 1;
  std::uint64_t in_flight = 0, served = 0;
  bool tainted = false;
  std::uint64_t started_ms = 0;  // Unix time
  std::uint64_t rss_bytes = 0;
  std::uint64_t deadline_ms = 0;    // Unix time at which a draining worker is killed; 0: not draining
  std::uint64_t next_start_ms = 0;  // Unix time of the next attempt of a slot in backoff
  std::string why;                  // one line: why it is in this state
};

struct ServiceStatus {
  std::string name;
  ServiceState state = ServiceState::starting;
  std::uint32_t generation = 1;
  std::uint32_t wanted = 0;    // workers it has when it is not stopped
  std::uint64_t failures = 0;  // recorded since reforkd started
  std::uint64_t restarts = 0;  // replacements started since reforkd started
  std::vector<std::string> listen;
  std::string log = {};               // where its workers' output goes: journal | inherit | null | file:PATH
  std::string why;                    // one line, empty when all is well
  std::vector<WorkerStatus> workers;  // by slot, then id; draining ones beside their replacement
};

struct StoreStatus {
  std::string state = "ok";  // ok | degraded
  std::string why;           // empty, or what is wrong with it
  std::string path;
  std::uint64_t waiting = 0;  // rows kept in memory until they can be written
  std::uint64_t dropped = 0;  // rows that could not be kept
};

struct DaemonStatus {
  std::string version;
  std::int32_t pid = 0;
  std::uint64_t started_ms = 0;
  std::uint64_t rss_bytes = 0;
  std::string config;  // file, or "command line"
  StoreStatus store;
  std::vector<ServiceStatus> services;
};

// One line of `reforkctl events`.
struct Event {
  std::uint64_t sequence = 0;  // from 1, without gaps
  std::uint64_t time_ms = 0;   // Unix time
  EventType type;
  std::string service = {};
  std::optional<std::uint32_t> slot = {};
  std::uint64_t worker = 0;  // 0: none
  std::int32_t pid = 0;
  std::string text = {};         // one line for a person, without the fields above; no request data
  std::string detail = {};       // what follows it for those who may read failures
  std::uint32_t generation = 0;  // the worker's; 0: does not apply
  std::string failure = {}, kind = {}, fingerprint = {};  // of the record, where the event is a failure
};

}  // namespace refork::core

namespace refork::base {
template <>
struct EnumNames<core::ServiceState> {
  static constexpr std::array<std::string_view, 7> names = {"starting",  "running",  "degraded", "storm",
                                                            "reloading", "stopping", "stopped"};
};
}  // namespace refork::base
