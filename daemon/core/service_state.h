#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/service.h"

// All that a service knows, as plain values: what the next reforkd needs to go on where this one was. Times
// are those of CLOCK_MONOTONIC, which goes on as long as the machine runs.
namespace refork::core {

struct ReloadSnapshot {
  std::uint32_t next_slot = 0;
  std::uint32_t generation = 0;
  WorkerId candidate = 0, old = 0;
};

struct ServiceSnapshot {
  std::uint32_t wanted_workers = 0;  // as scaled
  bool wanted = false, started_once = false;
  std::uint32_t generation = 1;
  std::uint64_t replacements = 0;
  TokenBucket::Level budget;
  bool stormy = false;
  std::optional<Time> next_token;
  std::vector<Time> dumps;
  bool dumps_allowed = true;
  std::vector<Slot> slots;
  std::vector<Worker> workers;
  std::optional<ReloadSnapshot> reload;
  std::string last_reload_error;
};

// Jobs are not part of it: whoever waited for one is gone.
ServiceSnapshot take_snapshot(const Service& service);
// Into a service that has done nothing yet. Its number of workers is that of its configuration; what is
// beyond drains. A reload under way is given up: the old generation goes on, and the candidate leaves.
void restore(Service& service, ServiceSnapshot snapshot, Time now, Effects& out);
// Workers that the snapshot does not know. One that was started after it was taken takes its slot; the
// candidate of a reload that nobody leads any more leaves it to the old one.
void add_started(ServiceSnapshot& snapshot, const ServiceConfig& config, WorkerId worker, std::uint32_t slot,
                 std::uint32_t generation, Time now);
// One of which nothing is known but that it is there: it drains, and its slot is free.
void add_stranger(ServiceSnapshot& snapshot, const ServiceConfig& config, WorkerId worker, std::uint32_t slot,
                  std::uint32_t generation, Time now);
// A worker that serves beside the one that has its slot, and nobody remembers why.
bool superseded(const Service& service, WorkerId worker);
void relieve(Service& service, WorkerId worker, Time now, Effects& out);
// A worker that never ran: reforkd died while it started it. Neither an end nor a failed start.
void withdraw(Service& service, WorkerId worker, Time now, Effects& out);

}  // namespace refork::core
