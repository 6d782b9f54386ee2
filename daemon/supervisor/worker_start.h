#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/effects.h"
#include "core/service_config.h"
#include "os/fd_store.h"
#include "os/spawn.h"
#include "recorder/layout.h"
#include "supervisor/kept_recorder.h"
#include "supervisor/loop.h"
#include "supervisor/worker_cgroups.h"
#include "supervisor/worker_process.h"

namespace refork::supervisor {

// Starts the processes of one service's workers.
class WorkerStart {
 public:
  WorkerStart(Loop& loop, os::FdStore& fds, WorkerCgroups& cgroups, const core::ServiceConfig& config)
      : loop_(loop), fds_(fds), cgroups_(cgroups), config_(config) {}

  // That its command can be found, before anything is started.
  base::Result<void> check(const std::vector<int>& listeners, const std::string& notify_socket) const;
  // Fills in what `process` has beside its subject. After an error it has what was made until then.
  base::Result<void> start(WorkerProcess& process, const core::Spawn& what, const std::vector<int>& listeners,
                           const std::string& notify_socket);
  // The step that failed in the process itself, with what it was about and why.
  std::string say(const os::SpawnFailure& failure) const;

 private:
  base::Result<std::shared_ptr<KeptRecorder>> recorder_for(const recorder::Identity& identity);
  base::Result<base::UniqueFd> open_channel(WorkerProcess& process);  // the worker's end

  Loop& loop_;
  os::FdStore& fds_;
  WorkerCgroups& cgroups_;
  const core::ServiceConfig& config_;
  std::shared_ptr<KeptRecorder> spare_recorder_;
};

}  // namespace refork::supervisor
