#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/effects.h"
#include "core/records.h"
#include "core/service.h"
#include "core/status.h"

// The answer to `why`: what happened to a service lately and because of what, and why something is not as it
// is wanted now.
namespace refork::core {

inline constexpr std::size_t kept_a_slot = 32;        // entries of one slot, the newest
inline constexpr std::size_t kept_of_a_service = 32;  // entries that are about no slot
inline constexpr std::size_t longest_entry = 256;     // bytes of a text

// One link of the causal line.
struct HistoryEntry {
  std::uint64_t number = 0;           // of the service's entries, from 1
  std::uint64_t time_ms = 0;          // Unix time
  std::optional<std::uint32_t> slot;  // none: it is about the service
  WorkerId worker = 0;
  std::int32_t pid = 0;
  std::string what;                          // an Event's type
  std::string text;                          // one line, without the fields of this struct; no request data
  std::string detail;                        // what follows it for those who may read failures
  std::string failure;                       // the failure that it is, or that it came of
  WorkerId instead_of = 0;                   // worker-started: whose place it took
  std::string by;                            // who asked for it: "root", "uid 1000"
  std::uint64_t waited_ms = 0;               // before it could happen ...
  std::string waited_for;                    // ... for what
  std::optional<std::uint64_t> duration_ms;  // worker-started: until it was ready
  std::optional<std::uint64_t> completed;    // worker-ended: requests answered in its drain
  std::optional<std::uint64_t> cut;          // worker-ended: requests that got no answer
  std::uint64_t count = 1;                   // failures alike that this one stands for
};

// What lasts at the moment and keeps something from being as it is wanted.
struct Condition {
  std::optional<std::uint32_t> slot;
  WorkerId worker = 0;
  std::string
      kind;  // stopped | stopping | storm | reload | given-up | backoff | starting | waiting | draining
  std::string text;            // one line
  std::uint64_t until_ms = 0;  // Unix time; 0: nobody knows
};

struct Why {
  std::string service;
  std::optional<std::uint32_t> slot;  // it was asked about this one only
  std::vector<Condition> conditions;
  std::vector<HistoryEntry> history;  // by time
};

// The last events of one service, as causes and effects. Bounded: a slot that fails all the time drives out
// nothing but its own past.
class History {
 public:
  // Called with each entry that is new or has changed.
  using Changed = std::function<void(const HistoryEntry&)>;
  explicit History(Changed changed = {}) : changed_(std::move(changed)) {}

  void add(const Event& event);
  // With the time of the failure itself, which is told later: when its stack has its names.
  void failed(const FailureRow& row, std::string_view summary);
  // Of its requests, as far as they are known; `completed` where it was drained.
  void finished(WorkerId worker, std::optional<std::uint64_t> completed, std::optional<std::uint64_t> cut);

  // One that an earlier History made; a later one of the same number takes its place.
  void restore(HistoryEntry entry);

  std::vector<HistoryEntry> entries(std::optional<std::uint32_t> slot) const;

 private:
  using Entries = std::deque<HistoryEntry>;
  Entries& of(const std::optional<std::uint32_t>& slot) { return slot ? slots_[*slot] : service_; }
  void became_ready(const Event& event);
  void trace_start(HistoryEntry& entry);
  void trace_drain(HistoryEntry& entry);
  void restarted(const Event& event);
  void keep(HistoryEntry entry);
  void insert(HistoryEntry entry);
  void changed(const HistoryEntry& entry) const;

  Changed changed_;
  std::uint64_t last_number_ = 0;
  Entries service_;
  std::map<std::uint32_t, Entries> slots_;
  std::map<std::uint32_t, WorkerId> newest_;  // worker of each slot
};

// Why the service, or that slot of it, is not as it is wanted. `now_ms` is the same moment in Unix time.
std::vector<Condition> conditions(const Service& service, std::optional<std::uint32_t> slot, Time now,
                                  std::uint64_t now_ms);

}  // namespace refork::core
