#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "core/effects.h"
#include "core/service_config.h"
#include "os/spawn.h"
#include "supervisor/failures.h"
#include "supervisor/listeners.h"

namespace refork::supervisor {

// What a worker is given, and nothing else: its listeners from descriptor 3 on, then its channel (linked
// workers) and its flight recorder; an environment without anything of reforkd's own.
struct WorkerFds {
  int channel = -1;  // -1: none
  int recorder = -1;
  int output = -1;  // stdout and stderr; -1: reforkd's own
};
base::Result<base::UniqueFd> open_output(const std::string& log);  // of a service's `log`; none for "inherit"
// Where its output begins in the file that it goes to, if it goes to one.
void note_output(Subject& subject, const std::string& log, int output);
base::Result<os::SpawnPlan> plan_worker(const core::ServiceConfig& config, const core::Spawn& what,
                                        const Listeners& listeners, const WorkerFds& fds,
                                        const std::string& notify_socket);

}  // namespace refork::supervisor
