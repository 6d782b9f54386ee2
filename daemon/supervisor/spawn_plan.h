#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "core/effects.h"
#include "core/service_config.h"
#include "os/spawn.h"
#include "supervisor/failures.h"

namespace refork::supervisor {

// What a worker is given, and nothing else: its listeners from descriptor 3 on, then its channel (linked
// workers) and its flight recorder; an environment without anything of reforkd's own.
struct WorkerFds {
  int channel = -1;  // -1: none
  int recorder = -1;
  int output = -1;  // stdout and stderr; -1: reforkd's own
};
// What a service's `log` comes to here: "auto" is "journal" where reforkd's own words go there, otherwise
// "inherit".
std::string effective_log(const std::string& log);
// None for "inherit", and where the journal is not to be reached.
base::Result<base::UniqueFd> open_output(const core::ServiceConfig& config);
// Where its output can be read again, and from where on.
void note_output(Subject& subject, const std::string& log, int output);
base::Result<os::SpawnPlan> plan_worker(const core::ServiceConfig& config, const core::Spawn& what,
                                        const std::vector<int>& listeners, const WorkerFds& fds,
                                        const std::string& notify_socket);

// Of all that a worker is started with: another one means that workers of before are not what is wanted now.
std::string print_of(const core::ServiceConfig& config);

}  // namespace refork::supervisor
