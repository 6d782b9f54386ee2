// Workers that have served enough: replaced one at a time, without a failure, and never at the cost of the
// floor.
#include <algorithm>

#include "core/sentences.h"
#include "core/service.h"

namespace refork::core {
namespace {

template <class T>
T own_limit(T limit, double factor) {
  return static_cast<T>(static_cast<double>(limit) * factor);
}

}  // namespace

void Service::on_usage(WorkerId worker, const Usage& usage, Time now, Effects& out) {
  Worker* w = find(worker);
  if (!w || w->recycle_due || !accepts(w->state)) return;
  const auto& limits = config_.recycle;
  if (limits.requests && usage.served >= own_limit(*limits.requests, w->recycle_factor))
    w->recycle_why = "it has served " + std::to_string(usage.served) + " requests";
  else if (limits.memory && usage.memory >= own_limit(*limits.memory, w->recycle_factor))
    w->recycle_why = "it has " + std::to_string(usage.memory >> 20) + " MB of memory";
  else
    return;
  w->recycle_due = now;
  settle(now, out);
}

std::optional<Time> Service::recycle_age_reached(const Worker& worker) const {
  if (!config_.recycle.age || worker.recycle_due || !accepts(worker.state)) return std::nullopt;
  return worker.since + Millis(own_limit(config_.recycle.age->count(), worker.recycle_factor));
}

void Service::mark_old(Time now) {
  for (auto& [id, worker] : workers_) {
    const auto at = recycle_age_reached(worker);
    if (!at || now < *at) continue;
    worker.recycle_due = *at;
    worker.recycle_why = "it is " + say_duration(now - worker.since) + " old";
  }
}

// Until the one before is gone and every place serves.
bool Service::recycling_waits() const {
  if (reload_ || config_.restart.policy == RestartPolicy::never) return true;
  const auto under_way = [](const auto& entry) { return entry.second.wanted_gone == DrainReason::recycle; };
  const auto serves = [this](const Slot& slot) {
    const auto it = workers_.find(slot.current);
    return it != workers_.end() && accepts(it->second.state);
  };
  return std::ranges::any_of(workers_, under_way) || !std::ranges::all_of(slots_, serves);
}

void Service::settle_recycling(Time now, Effects& out) {
  if (!wanted_ || recycling_waits()) return;
  mark_old(now);
  Worker* first = nullptr;
  for (auto& [id, worker] : workers_)
    if (worker.recycle_due && accepts(worker.state) && !worker.wanted_gone &&
        (!first || *worker.recycle_due < *first->recycle_due))
      first = &worker;
  if (!first) return;
  announce(*first, "worker-recycled", first->recycle_why, out);
  want_gone(*first, DrainReason::recycle, now, out);
}

}  // namespace refork::core
