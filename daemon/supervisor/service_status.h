#pragma once

#include "core/service.h"
#include "core/status.h"
#include "supervisor/worker_process.h"

namespace refork::supervisor {

// A service as operators see it now: its workers by slots, those without a slot at the end. What only the
// service's runner knows (failures, listeners) is left to it.
core::ServiceStatus status_of(const core::Service& service, const WorkerProcesses& processes);

}  // namespace refork::supervisor
