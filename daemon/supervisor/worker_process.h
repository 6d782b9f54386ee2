#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/effects.h"
#include "link/worker_link.h"
#include "os/process.h"
#include "os/spawn.h"
#include "supervisor/failures.h"
#include "supervisor/handover.h"
#include "supervisor/kept_recorder.h"
#include "supervisor/loop.h"

namespace refork::supervisor {

// What reforkd holds of one worker's process: a pidfd, its channel, its flight recorder, and their sources in
// the loop. Where it is in its life is core::Worker's business.
struct WorkerProcess {
  Subject subject;
  os::Spawned spawned;
  std::optional<link::WorkerLink> link;  // linked workers, until their channel is closed
  std::shared_ptr<KeptRecorder> recorder;
  std::uint64_t start_time = 0;          // os::start_time()
  bool perhaps_never_ran = false;        // reforkd died while it started it
  bool told_to_go = false;               // its drain was ordered, by message or signal
  std::optional<core::Time> status_due;  // it has ended, and how is known by then or never
  std::optional<std::uint64_t> served_before_drain;
  std::string boot_error;
  std::string status;  // STATUS= of a notifying worker
  Loop::Source exit_source, error_source, link_source;
};
using WorkerProcesses = std::map<core::WorkerId, std::unique_ptr<WorkerProcess>>;

void kill_group(const WorkerProcess& process);
WorkerKey key_of(const WorkerProcess& process);
std::string fd_name(const WorkerProcess& process, std::string_view what);  // of its stored descriptors

}  // namespace refork::supervisor
