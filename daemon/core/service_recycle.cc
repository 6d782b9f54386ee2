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

// In the unit that it is given in: "512 KB", "90 MB".
std::string say_bytes(std::uint64_t bytes) {
  constexpr std::uint64_t mega = std::uint64_t{1} << 20;
  return bytes < mega ? std::to_string(bytes >> 10) + " KB" : std::to_string(bytes >> 20) + " MB";
}

// Why a worker goes that others of its age or use outlive.
std::string say_limit(const std::string& own, const std::string& of_all) {
  return "; its own limit is " + own + ", of " + of_all;
}

}  // namespace

void Service::on_usage(WorkerId worker, const Usage& usage, Time now, Effects& out) {
  Worker* w = find(worker);
  if (!w || w->recycle_due || !accepts(w->state)) return;
  const auto& limits = config_.recycle;
  const auto most_requests = own_limit(limits.requests.value_or(0), w->recycle_factor);
  const auto most_memory = own_limit(limits.memory.value_or(0), w->recycle_factor);
  if (limits.requests && usage.served >= most_requests)
    w->recycle_why = "it has served " + std::to_string(usage.served) + " requests" +
                     say_limit(std::to_string(most_requests), std::to_string(*limits.requests));
  else if (limits.memory && usage.memory >= most_memory)
    w->recycle_why = "it has " + say_bytes(usage.memory) + " of memory" +
                     say_limit(say_bytes(most_memory), say_bytes(*limits.memory));
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
    worker.recycle_why = "it is " + say_duration(now - worker.since) + " old" +
                         say_limit(say_duration(*at - worker.since), say_duration(*config_.recycle.age));
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
