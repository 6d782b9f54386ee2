// What operators ask of a service: start, stop, reload, scale, drain and kill, each a job that ends when what
// was asked is true, or cannot become true.
#include <algorithm>
#include <cerrno>

#include "core/sentences.h"
#include "core/service.h"

namespace refork::core {

using base::Error;
using base::Result;

JobId Service::add_job(JobKind kind, WorkerId worker) {
  jobs_.push_back({++last_job_, kind, worker});
  return last_job_;
}

void Service::cancel_jobs(const std::string& why, Effects& out) {
  for (const auto& job : jobs_)
    if (job.kind != JobKind::end_of_worker) out.push_back(JobDone{job.id, Error{ECANCELED, why}});
  std::erase_if(jobs_, [](const Job& job) { return job.kind != JobKind::end_of_worker; });
}

Result<JobId> Service::start(Time now, Effects& out) {
  if (!wanted_) {
    cancel_jobs("overtaken by a start", out);
    wanted_ = true;
    started_once_ = false;
    slots_.assign(config_.workers, Slot{});
  }
  for (auto& slot : slots_) {
    slot.given_up = false;
    slot.boot_failures = 0;
    slot.next_start.reset();
  }
  const JobId job = add_job(JobKind::start);
  settle(now, out);
  return job;
}

Result<JobId> Service::stop(Time now, Effects& out) {
  if (wanted_) {
    end_reload(Error{ECANCELED, "overtaken by a stop"}, out);
    cancel_jobs("overtaken by a stop", out);
    wanted_ = false;
  }
  const JobId job = add_job(JobKind::stop);
  for (auto& slot : slots_) slot = Slot{};
  std::vector<WorkerId> all;
  for (const auto& [id, worker] : workers_) all.push_back(id);
  for (const auto id : all)
    if (Worker* worker = find(id)) want_gone(*worker, DrainReason::stop, now, out);
  settle(now, out);
  return job;
}

Result<JobId> Service::reload(Time now, Effects& out) {
  if (!wanted_) return Error{EINVAL, "service " + config_.name + " is not running: start it instead"};
  if (reload_) return Error{EBUSY, "a reload of " + config_.name + " is under way"};
  reload_ = Reload{};
  reload_->generation = generation_ + 1;
  last_reload_error_.clear();
  const JobId job = add_job(JobKind::reload);
  settle(now, out);
  return job;
}

Result<JobId> Service::scale(std::uint32_t workers, Time now, Effects& out) {
  if (workers == 0) return Error{EINVAL, "a service has at least one worker: stop it instead"};
  if (workers > max_workers)
    return Error{EINVAL,
                 "at most " + std::to_string(max_workers) + " workers, not " + std::to_string(workers)};
  if (reload_) return Error{EBUSY, "a reload of " + config_.name + " is under way"};
  config_.workers = workers;
  if (config_.restart.budget == 0)
    budget_ = TokenBucket(drains_a_worker * workers, config_.restart.budget_window);
  slots_.resize(workers);
  std::vector<WorkerId> beyond;
  for (const auto& [id, worker] : workers_)
    if (worker.slot >= workers) beyond.push_back(id);
  for (const auto id : beyond)
    if (Worker* worker = find(id)) want_gone(*worker, DrainReason::operator_, now, out);
  const JobId job = add_job(JobKind::scale);
  settle(now, out);
  return job;
}

Result<JobId> Service::drain(WorkerId worker, Time now, Effects& out) {
  Worker* w = find(worker);
  if (!w) return Error{ENOENT, "no worker " + std::to_string(worker)};
  const JobId job = add_job(JobKind::end_of_worker, worker);
  want_gone(*w, DrainReason::operator_, now, out);
  settle(now, out);
  return job;
}

Result<JobId> Service::kill(WorkerId worker, Time now, Effects& out) {
  Worker* w = find(worker);
  if (!w) return Error{ENOENT, "no worker " + std::to_string(worker)};
  w->killed_by_order = true;
  const JobId job = add_job(JobKind::end_of_worker, worker);
  happen(worker, WorkerEvent::kill_ordered, {}, now, out);
  return job;
}

void Service::replace_all(const std::string& why, Time now, Effects& out) {
  std::vector<WorkerId> all;
  for (const auto& [id, worker] : workers_) all.push_back(id);
  for (const auto id : all) {
    Worker* worker = find(id);
    if (!worker || leaving(worker->state)) continue;
    announce(*worker, "worker-replaced", why, out);
    // Not by way of want_gone: a worker with a broken listener holds up no floor.
    happen(id, WorkerEvent::drain_ordered, {.reason = DrainReason::error}, now, out);
  }
}

// ---- reload: the first of the new generation goes through a probation; then slot by slot, the new one ready
// before the old one drains.

bool Service::probed() const {
  const auto candidate = workers_.find(reload_->candidate);
  return candidate != workers_.end() && accepts(candidate->second.state);
}

void Service::settle_reload(Time now, Effects& out) {
  while (reload_ && wanted_) {
    Reload& reload = *reload_;
    if (reload.next_slot >= slots_.size()) {
      generation_ = reload.generation;
      return end_reload({}, out);
    }
    if (reload.candidate == 0) {
      reload.old = slots_[reload.next_slot].current;
      slots_[reload.next_slot].served = true;
      slots_[reload.next_slot].given_up = false;
      reload.candidate = spawn(reload.next_slot, reload.generation, now, out);
      return;
    }
    if (!probed()) return;
    if (reload.next_slot == 0 && !reload.probation_ends)
      reload.probation_ends = now + config_.reload.probation;
    if (reload.probation_ends && now < *reload.probation_ends) return;
    reload.probation_ends.reset();
    generation_ = reload.generation;
    ++reload.next_slot;
    reload.candidate = 0;
    const WorkerId old = reload.old;
    if (Worker* worker = find(old)) want_gone(*worker, DrainReason::reload, now, out);
  }
}

void Service::reload_candidate_failed(const std::string& why, Effects& out) {
  last_reload_error_ = "generation " + std::to_string(reload_->generation) + " failed in slot " +
                       std::to_string(reload_->next_slot) + ": " + why + "; the old workers serve on";
  end_reload(Error{EIO, last_reload_error_}, out);
}

void Service::end_reload(Result<void> result, Effects& out) {
  if (!reload_) return;
  // The place belongs to the old worker again, if that is still there and the candidate is to go.
  if (!result.ok() && reload_->candidate != 0 && reload_->next_slot < slots_.size()) {
    const Worker* old = find(reload_->old);
    Slot& slot = slots_[reload_->next_slot];
    if (old && !leaving(old->state) && slot.current == reload_->candidate) slot.current = old->id;
    if (Worker* candidate = find(reload_->candidate); candidate && !candidate->wanted_gone)
      candidate->wanted_gone = DrainReason::reload;
  }
  reload_.reset();
  for (const auto& job : jobs_)
    if (job.kind == JobKind::reload) out.push_back(JobDone{job.id, result});
  std::erase_if(jobs_, [](const Job& job) { return job.kind == JobKind::reload; });
}

// ---- jobs

std::optional<Result<void>> Service::outcome(const Job& job) const {
  switch (job.kind) {
    case JobKind::reload:
      return std::nullopt;  // end_reload()
    case JobKind::end_of_worker:
      if (workers_.contains(job.worker)) return std::nullopt;
      return Result<void>{};
    case JobKind::stop:
      if (!workers_.empty()) return std::nullopt;
      return Result<void>{};
    case JobKind::start:
    case JobKind::scale:
      if (!wanted_) return Result<void>{};  // for the next start
      break;
  }
  std::size_t serving = 0;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    if ((slot.boot_failures > 0 || slot.given_up) && slot.current == 0)
      return Error{EIO, config_.name + "/" + std::to_string(i) + " failed to start: " + slot.why +
                            (slot.given_up ? "" : "; reforkd goes on trying")};
    const auto it = workers_.find(slot.current);
    if (it != workers_.end() && accepts(it->second.state)) ++serving;
  }
  const bool surplus = std::any_of(workers_.begin(), workers_.end(),
                                   [&](const auto& entry) { return entry.second.slot >= slots_.size(); });
  if (serving < slots_.size() || surplus) return std::nullopt;
  return Result<void>{};
}

void Service::settle_jobs(Effects& out) {
  std::erase_if(jobs_, [&](const Job& job) {
    auto result = outcome(job);
    if (result) out.push_back(JobDone{job.id, *result});
    return result.has_value();
  });
}

// ---- views

ServiceState Service::state() const {
  const auto given_up = [](const Slot& slot) { return slot.given_up; };
  if (!wanted_) return workers_.empty() ? ServiceState::stopped : ServiceState::stopping;
  if (workers_.empty() && std::all_of(slots_.begin(), slots_.end(), given_up)) return ServiceState::stopped;
  if (stormy_) return ServiceState::storm;
  if (reload_) return ServiceState::reloading;
  if (std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.current == 0; }))
    return ServiceState::degraded;
  return started_once_ ? ServiceState::running : ServiceState::starting;
}

std::string Service::why() const {
  if (stormy_)
    return "storm: more errors than the restart budget allows; tainted workers serve on and are replaced "
           "slowly";
  for (std::size_t i = 0; i < slots_.size(); ++i)
    if (slots_[i].current == 0 && !slots_[i].why.empty())
      return "slot " + std::to_string(i) + ": " + slots_[i].why;
  return last_reload_error_;
}

}  // namespace refork::core
