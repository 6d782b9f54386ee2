#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/effects.h"
#include "state/state.h"

namespace refork::supervisor {

// How many failures each service has had, and which of those that may be met again were counted and told: one
// stays where it stands until it is safe, and the next reforkd finds it there.
class Tally {
 public:
  // True: it was not counted before.
  bool count(const std::string& service, core::WorkerId worker, const std::string& id);
  // True: it was not told before.
  bool tell(core::WorkerId worker, const std::string& id);
  // It will not be met any more; all of a worker's will not.
  void forget(core::WorkerId worker, const std::string& id);
  void forget(core::WorkerId worker) { met_.erase(worker); }
  void forget_all_but(core::WorkerId worker, const std::set<std::string>& ids);

  std::uint64_t failures(const std::string& service) const;
  std::vector<state::MetFailure> met(core::WorkerId worker) const;
  // As an earlier reforkd left it.
  void assume(const std::string& service, std::uint64_t failures, const std::vector<state::MetFailure>& met);

 private:
  std::map<std::string, std::uint64_t> failures_;              // by service
  std::map<core::WorkerId, std::map<std::string, bool>> met_;  // by id: whether it was told
};

}  // namespace refork::supervisor
