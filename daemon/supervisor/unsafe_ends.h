#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <utility>

#include "core/effects.h"
#include "state/state.h"
#include "store/store.h"

namespace refork::supervisor {

// The ends of a service's workers that are not known to be on disk, for the next reforkd. A store that cannot
// write drops its oldest rows; what would be kept for them is dropped here, or it would grow as long as the
// disk is full.
class UnsafeEnds {
 public:
  static constexpr std::size_t most = store::Store::max_waiting;

  state::End& add(state::End end) {
    const auto worker = end.process.worker;
    return ends_.insert_or_assign(worker, std::move(end)).first->second;
  }
  bool erase(core::WorkerId worker) { return ends_.erase(worker) != 0; }
  // The oldest of more than there may be.
  std::optional<state::End> take_surplus() {
    if (ends_.size() <= most) return std::nullopt;
    return std::move(ends_.extract(ends_.begin()).mapped());
  }
  bool empty() const noexcept { return ends_.empty(); }
  auto begin() const noexcept { return ends_.begin(); }
  auto end() const noexcept { return ends_.end(); }

 private:
  std::map<core::WorkerId, state::End> ends_;  // ids only grow
};

}  // namespace refork::supervisor
