// What may be done with one worker's process whatever its state.
#include "supervisor/worker_process.h"

#include <csignal>

namespace refork::supervisor {

void kill_group(const WorkerProcess& process) {
  os::signal_group(process.spawned.pidfd.get(), process.spawned.pid, process.start_time, SIGKILL);
}

WorkerKey key_of(const WorkerProcess& process) {
  return {process.subject.service, process.subject.slot, process.subject.worker};
}

std::string fd_name(const WorkerProcess& process, std::string_view what) {
  return worker_fd(process.subject.service, process.subject.slot, process.subject.worker, what);
}

}  // namespace refork::supervisor
