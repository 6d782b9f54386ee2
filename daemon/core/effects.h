#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "core/event_types.h"
#include "core/pace.h"
#include "proto/messages.h"
#include "refork/failure.hpp"

// What a service wants done, as values. The supervisor performs them in order.
namespace refork::core {

using WorkerId = std::uint64_t;
using JobId = std::uint64_t;

struct Spawn {
  WorkerId worker;
  std::uint32_t slot;
  std::uint32_t generation;
};
struct GiveVerdict {
  WorkerId worker;
  std::string failure;
  proto::Verdict verdict;
  Millis deadline;  // from now
};
struct OrderDrain {  // by message
  WorkerId worker;
  DrainReason reason;
  Millis deadline;  // from now
};
struct Terminate {  // SIGTERM to the worker's process
  WorkerId worker;
};
struct Kill {  // SIGKILL to its group
  WorkerId worker;
};
// Say by on_dump_seen() whether the process dumps core.
struct LookForDump {
  WorkerId worker;
};
// Whether the service's processes may dump core from now on, those that live and those to come.
struct AllowDumps {
  bool allowed;
};
struct CloseChannel {
  WorkerId worker;
};
// A failure that only reforkd can see; the record is made by the supervisor from what the flight recorder
// holds.
struct Report {
  WorkerId worker;
  Kind kind;
  std::string message;
};
struct Announce {   // an event for the log, the bus and `reforkctl events`
  WorkerId worker;  // 0: the service itself
  std::uint32_t slot;
  EventType type;
  std::string text;
};
struct JobDone {
  JobId job;
  base::Result<void> result;
};
// The process is gone: everything that is known of its end. The worker's last effect.
struct Ended {
  WorkerId worker = 0;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
  std::string requested;  // error | operator | reload | recycle | stop | ""
  std::string outcome;    // clean | deadline | died | ""
  std::string cause;      // drained | exit | signal | boot | deadline | killed
  Millis drain_duration{0};
  Millis lived{0};
  std::optional<int> code, signal;
  bool core = false;
  std::string core_file = {};  // empty: there is none, or it is not known where
};

using Effect = std::variant<Spawn, GiveVerdict, OrderDrain, Terminate, Kill, LookForDump, AllowDumps,
                            CloseChannel, Report, Announce, JobDone, Ended>;
using Effects = std::vector<Effect>;

}  // namespace refork::core
