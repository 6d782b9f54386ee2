// Bookkeeping for "exactly once". It is part of the saved state, so count and marks never part.
#include "supervisor/tally.h"

namespace refork::supervisor {

bool Tally::count(const std::string& service, core::WorkerId worker, const std::string& id) {
  if (!met_[worker].emplace(id, false).second) return false;
  ++failures_[service];
  return true;
}

bool Tally::tell(core::WorkerId worker, const std::string& id) {
  bool& told = met_[worker][id];
  return !std::exchange(told, true);
}

void Tally::forget(core::WorkerId worker, const std::string& id) {
  const auto known = met_.find(worker);
  if (known == met_.end()) return;
  known->second.erase(id);
  if (known->second.empty()) met_.erase(known);
}

void Tally::forget_all_but(core::WorkerId worker, const std::set<std::string>& ids) {
  const auto known = met_.find(worker);
  if (known == met_.end()) return;
  std::erase_if(known->second, [&ids](const auto& one) { return !ids.contains(one.first); });
  if (known->second.empty()) met_.erase(known);
}

std::uint64_t Tally::failures(const std::string& service) const {
  const auto known = failures_.find(service);
  return known == failures_.end() ? 0 : known->second;
}

std::vector<state::MetFailure> Tally::met(core::WorkerId worker) const {
  std::vector<state::MetFailure> all;
  if (const auto known = met_.find(worker); known != met_.end())
    for (const auto& [id, told] : known->second) all.push_back({worker, id, told});
  return all;
}

void Tally::assume(const std::string& service, std::uint64_t failures,
                   const std::vector<state::MetFailure>& met) {
  failures_[service] = failures;
  for (const auto& one : met) met_[one.worker][one.id] = one.told;
}

}  // namespace refork::supervisor
