#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/effects.h"
#include "link/worker_link.h"
#include "os/process.h"
#include "os/spawn.h"
#include "supervisor/failures.h"
#include "supervisor/loop.h"
#include "supervisor/recorder_file.h"

namespace refork::supervisor {

// What reforkd holds of one worker's process: a pidfd, its channel, its flight recorder, and their sources in
// the loop. Where it is in its life is core::Worker's business.
struct WorkerProcess {
  Subject subject;
  os::Spawned spawned;
  std::optional<link::WorkerLink> link;  // linked workers, until their channel is closed
  std::shared_ptr<RecorderFile> recorder;
  std::uint64_t started_ms = 0;  // Unix time
  std::optional<std::uint64_t> served_before_drain;
  std::string boot_error;
  std::string status;  // STATUS= of a notifying worker
  Loop::Source exit_source, error_source, link_source;
};

}  // namespace refork::supervisor
