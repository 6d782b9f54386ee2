// Which slot gets a worker when, and which drain may begin: backoff, budget, floor and drain cap.
#include <algorithm>

#include "core/sentences.h"
#include "core/service.h"

namespace refork::core {

WorkerId Service::spawn(std::uint32_t slot, std::uint32_t generation, Time now, Effects& out) {
  Worker worker;
  worker.id = next_id_();
  worker.slot = slot;
  worker.generation = generation;
  worker.ready = config_.ready;
  worker.since = now;
  if (config_.ready != ReadyBy::exec) worker.deadline = now + config_.start_timeout;
  if (config_.recycle != ServiceConfig::Recycle{})
    worker.recycle_factor = 1 - recycle_jitter + 2 * recycle_jitter * random_();
  if (const Worker* before = find(slots_[slot].current)) note_health(*before, now);
  slots_[slot].current = worker.id;
  slots_[slot].next_start.reset();
  out.push_back(Spawn{worker.id, slot, generation});
  announce(worker, "worker-started", "started", out);
  const WorkerId id = worker.id;
  workers_.emplace(id, std::move(worker));
  return id;
}

void Service::fill_slots(Time now, Effects& out) {
  if (!wanted_) return;
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (slot.current != 0 || slot.given_up || (slot.next_start && now < *slot.next_start)) continue;
    if (slot.served) ++replacements_;
    spawn(i, generation_, now, out);
  }
  const auto serves = [this](const Slot& slot) {
    const auto it = workers_.find(slot.current);
    return it != workers_.end() && accepts(it->second.state);
  };
  if (std::all_of(slots_.begin(), slots_.end(), serves)) started_once_ = true;
}

// Failed starts before a worker that lived well count no more against those that come after it.
void Service::note_health(const Worker& worker, Time now) {
  if (worker.ready_at && now - *worker.ready_at >= healthy_after) slots_[worker.slot].boot_failures = 0;
}

// The worker has left its place: the slot is free, unless a replacement has taken it already.
void Service::leave_slot(Worker& worker, Time now) {
  if (worker.slot >= slots_.size()) return;
  Slot& slot = slots_[worker.slot];
  slot.served = true;
  if (slot.current != worker.id) return;
  note_health(worker, now);
  slot.current = 0;
  if (config_.restart.policy == RestartPolicy::never && wanted_) {
    slot.given_up = true;
    slot.next_start.reset();
    if (slot.why.empty()) slot.why = "the restart policy is never";
  }
}

void Service::note_boot_failure(const Worker& worker, const std::string& why, Time now, Effects& out) {
  if (worker.slot >= slots_.size()) return;
  Slot& slot = slots_[worker.slot];
  ++slot.boot_failures;
  slot.why = why;
  if (config_.restart.policy == RestartPolicy::never) {
    slot.given_up = true;
    return;
  }
  if (config_.restart.give_up && slot.boot_failures >= *config_.restart.give_up) {
    slot.given_up = true;
    announce(worker, "service-state",
             "given up after " + std::to_string(slot.boot_failures) + " failed starts", out);
    return;
  }
  const Millis delay =
      backoff_delay(slot.boot_failures, config_.restart.backoff_min, config_.restart.backoff_max, random_());
  slot.next_start = now + delay;
  announce(worker, "worker-backoff", "next start in " + say_duration(delay), out);
}

std::size_t Service::accepting() const {
  return static_cast<std::size_t>(std::count_if(
      workers_.begin(), workers_.end(), [](const auto& entry) { return accepts(entry.second.state); }));
}

std::size_t Service::draining_after_errors() const {
  return static_cast<std::size_t>(std::count_if(workers_.begin(), workers_.end(), [](const auto& entry) {
    return leaving(entry.second.state) && entry.second.requested == DrainReason::error;
  }));
}

void Service::want_gone(Worker& worker, DrainReason reason, Time now, Effects& out) {
  if (leaving(worker.state)) return;
  if (!worker.wanted_gone) worker.wanted_gone = reason;
  const bool kept = wanted_ && worker.slot < slots_.size();
  if (kept && accepts(worker.state) && !may_drain(worker, now, out)) return;
  happen(worker.id, WorkerEvent::drain_ordered, {.reason = worker.wanted_gone}, now, out);
}

// Whether a worker that is wanted gone may drain now. Errors draw on the budget, so that a client who repeats
// a poison request cannot take the service down; and the floor is kept by starting the replacement first.
bool Service::may_drain(Worker& worker, Time now, Effects& out) {
  if (worker.wanted_gone == DrainReason::error && !worker.paid) {
    if (draining_after_errors() >= config_.workers) {
      worker.why = "as many workers drain already as the service has";
      return false;
    }
    if (!budget_.take(now)) {
      stormy_ = true;
      next_token_ = budget_.next(now);
      worker.why = "storm: the restart budget is used up";
      return false;
    }
    worker.paid = true;
  }
  const bool replaced = config_.restart.policy != RestartPolicy::never;
  if (!replaced || accepting() > std::min<std::size_t>(config_.floor, slots_.size())) return true;
  worker.why = "waits for its replacement, to keep the floor of " + std::to_string(config_.floor);
  Slot& slot = slots_[worker.slot];
  if (slot.current == worker.id && !(slot.next_start && now < *slot.next_start)) {
    ++replacements_;
    slot.served = true;
    spawn(worker.slot, generation_, now, out);
  }
  return false;
}

// Drains that had to wait, the oldest worker first.
void Service::rotate_waiting(Time now, Effects& out) {
  stormy_ = false;
  if (!wanted_) return;
  std::vector<WorkerId> waiting;
  for (const auto& [id, worker] : workers_)
    if (worker.wanted_gone && accepts(worker.state)) waiting.push_back(id);
  for (const auto id : waiting) {
    Worker* worker = find(id);
    if (!worker || !accepts(worker->state) || !may_drain(*worker, now, out)) continue;
    worker->state = step(worker->state, WorkerEvent::drain_ordered).next;
    enter_draining(*worker, worker->wanted_gone, now, out);
    tell_to_drain(*worker, now, out);
  }
}

}  // namespace refork::core
