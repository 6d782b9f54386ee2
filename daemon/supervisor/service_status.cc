// What operators see of a service, read off what is there at the moment.
#include "supervisor/service_status.h"

#include <chrono>

#include "os/process.h"

namespace refork::supervisor {

namespace {

std::uint64_t unix_ms_at(core::Time at) {
  const auto ahead = std::chrono::duration_cast<std::chrono::milliseconds>(at - core::Clock::now()).count();
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(unix_ms()) + ahead);
}

core::WorkerStatus status_of(const core::Worker& worker, const WorkerProcesses& processes) {
  core::WorkerStatus status;
  status.id = worker.id;
  status.slot = worker.slot;
  status.state = base::to_name(worker.state);
  status.generation = worker.generation;
  status.tainted = worker.tainted;
  status.why = worker.why;
  if (worker.drain_began && worker.deadline) status.deadline_ms = unix_ms_at(*worker.deadline);
  const auto it = processes.find(worker.id);
  if (it == processes.end()) return status;
  const WorkerProcess& process = *it->second;
  status.pid = process.subject.pid;
  status.started_ms = process.subject.started_ms;
  status.rss_bytes = os::rss_bytes(process.subject.pid);
  if (status.why.empty()) status.why = process.status;
  if (process.recorder) {
    if (const auto counters = process.recorder->reader().counters()) {
      status.in_flight = counters->in_flight;
      status.served = counters->served;
    }
  }
  return status;
}

}  // namespace

core::ServiceStatus status_of(const core::Service& service, const WorkerProcesses& processes) {
  core::ServiceStatus status;
  status.name = service.config().name;
  status.state = service.state();
  status.generation = service.generation();
  status.wanted = service.config().workers;
  status.restarts = service.replacements();
  status.why = service.why();
  for (std::uint32_t i = 0; i < service.slots().size(); ++i) {
    const core::Slot& slot = service.slots()[i];
    for (const auto& [id, worker] : service.workers())
      if (worker.slot == i) status.workers.push_back(status_of(worker, processes));
    if (slot.current != 0 || !service.wanted()) continue;
    core::WorkerStatus empty;
    empty.slot = i;
    empty.generation = service.generation();
    empty.state = "backoff";
    empty.why = slot.why;
    if (slot.next_start) empty.next_start_ms = unix_ms_at(*slot.next_start);
    status.workers.push_back(std::move(empty));
  }
  for (const auto& [id, worker] : service.workers())
    if (worker.slot >= service.slots().size()) status.workers.push_back(status_of(worker, processes));
  return status;
}

}  // namespace refork::supervisor
