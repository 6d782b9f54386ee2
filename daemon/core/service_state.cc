// A service between two lives of reforkd. Nothing is decided here but what cannot go on: a reload that nobody
// leads any more, and workers for whom there is no slot.
#include "core/service_state.h"

#include <utility>

namespace refork::core {

ServiceSnapshot take_snapshot(const Service& service) {
  ServiceSnapshot snapshot;
  snapshot.wanted_workers = service.config_.workers;
  snapshot.wanted = service.wanted_;
  snapshot.started_once = service.started_once_;
  snapshot.generation = service.generation_;
  snapshot.replacements = service.replacements_;
  snapshot.budget = service.budget_.level();
  snapshot.stormy = service.stormy_;
  snapshot.next_token = service.next_token_;
  snapshot.dumps = service.dumps_;
  snapshot.dumps_allowed = service.dumps_allowed_;
  snapshot.slots = service.slots_;
  for (const auto& [id, worker] : service.workers_) snapshot.workers.push_back(worker);
  if (const auto& reload = service.reload_)
    snapshot.reload = {reload->next_slot, reload->generation, reload->candidate, reload->old};
  snapshot.last_reload_error = service.last_reload_error_;
  return snapshot;
}

void restore(Service& service, ServiceSnapshot snapshot, Time now, Effects& out) {
  service.wanted_ = snapshot.wanted;
  service.started_once_ = snapshot.started_once;
  service.generation_ = snapshot.generation;
  service.replacements_ = snapshot.replacements;
  service.budget_.set_level(snapshot.budget);
  service.stormy_ = snapshot.stormy;
  service.next_token_ = snapshot.next_token;
  service.dumps_ = std::move(snapshot.dumps);
  service.dumps_allowed_ = snapshot.dumps_allowed;
  service.last_reload_error_ = std::move(snapshot.last_reload_error);
  service.slots_ = std::move(snapshot.slots);
  service.slots_.resize(service.config_.workers);
  std::vector<WorkerId> beyond;
  for (auto& worker : snapshot.workers) {
    if (worker.slot >= service.slots_.size()) beyond.push_back(worker.id);
    service.workers_.emplace(worker.id, std::move(worker));
  }
  if (const auto& reload = snapshot.reload) {
    service.reload_ =
        Service::Reload{reload->next_slot, reload->generation, reload->candidate, reload->old, {}};
    service.reload_candidate_failed("reforkd was started again meanwhile", out);
  }
  for (const auto id : beyond)
    if (Worker* worker = service.find(id)) service.want_gone(*worker, DrainReason::operator_, now, out);
  service.settle(now, out);
}

void add_started(ServiceSnapshot& snapshot, const ServiceConfig& config, WorkerId worker, std::uint32_t slot,
                 std::uint32_t generation, Time now) {
  Worker started;
  started.id = worker;
  started.slot = slot;
  started.generation = generation;
  started.ready = config.ready;
  started.since = now;
  if (config.ready != ReadyBy::exec) started.deadline = now + config.start_timeout;
  const bool candidate = generation != snapshot.generation;
  if (candidate) started.wanted_gone = DrainReason::reload;
  if (slot < snapshot.slots.size() && !(candidate && snapshot.slots[slot].current != 0))
    snapshot.slots[slot].current = worker;
  snapshot.workers.push_back(std::move(started));
}

void add_stranger(ServiceSnapshot& snapshot, const ServiceConfig& config, WorkerId worker, std::uint32_t slot,
                  std::uint32_t generation, Time now) {
  Worker stranger;
  stranger.id = worker;
  stranger.slot = slot;
  stranger.generation = generation;
  stranger.ready = config.ready;
  stranger.since = stranger.ready_at.emplace(now);
  stranger.state = WorkerState::draining;
  stranger.drain_began = now;
  stranger.deadline = now + config.drain_deadline;
  stranger.requested = DrainReason::operator_;
  stranger.why = "drains: what an earlier reforkd knew of it cannot be read";
  snapshot.workers.push_back(std::move(stranger));
}

bool superseded(const Service& service, WorkerId worker) {
  const auto known = service.workers().find(worker);
  if (known == service.workers().end() || !accepts(known->second.state)) return false;
  const Worker& w = known->second;
  if (w.wanted_gone || w.slot >= service.slots().size()) return false;
  const WorkerId current = service.slots()[w.slot].current;
  return current != 0 && current != worker;
}

void relieve(Service& service, WorkerId worker, Time now, Effects& out) {
  if (superseded(service, worker)) service.want_gone(*service.find(worker), DrainReason::operator_, now, out);
}

void withdraw(Service& service, WorkerId worker, Time now, Effects& out) {
  Worker* w = service.find(worker);
  if (!w) return;
  service.announce(*w, "worker-ended", "it never ran: reforkd ended as it was started", out);
  if (w->slot < service.slots_.size() && service.slots_[w->slot].current == worker)
    service.slots_[w->slot].current = 0;
  service.workers_.erase(worker);
  service.settle(now, out);
}

}  // namespace refork::core
