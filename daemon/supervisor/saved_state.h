#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "core/effects.h"
#include "os/fd_store.h"
#include "state/memory.h"
#include "state/state.h"
#include "supervisor/handover.h"

namespace refork::supervisor {

// What the next reforkd has to know, in memory that outlives this one. Written whenever something of it has
// changed; what a service's part of it says is the service's business.
class SavedState {
 public:
  explicit SavedState(os::FdStore& fds) : fds_(fds) {}

  // What an earlier reforkd left, if there is anything that can be read. Afterwards there is memory to write
  // to. `stored_worker`: the last id that may have been given out, from the disk, which is waited for only
  // where nobody else knows.
  state::Daemon read(Handover& handover, const std::function<core::WorkerId()>& stored_worker);
  void keep();  // for the next one, from now on
  void save(const std::string& service, std::string text);
  void drop(const std::string& service) { services_.erase(service); }  // with what is written next
  void write();

  // Given out last; the next reforkd goes on after them.
  core::WorkerId last_worker = 0;
  std::uint64_t last_listener = 0;

 private:
  std::optional<state::Daemon> take(Handover& handover);

  os::FdStore& fds_;
  std::optional<state::Memory> memory_;          // nothing: there was none to be had
  std::map<std::string, std::string> services_;  // the state of each, as JSON
};

}  // namespace refork::supervisor
