// What is done after a reforkd that did not get so far itself: one that was killed while it stopped, or that
// its manager had no more patience with. With KillMode=process nobody else ends what is left.
#include "clean_up.h"

#include <poll.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>

#include "log/log.h"
#include "os/cgroup.h"
#include "os/leaf_cgroups.h"
#include "os/unit.h"

namespace refork {

namespace {

// systemd has the processes that it starts beside the service's own in this one, where the unit is delegated.
constexpr std::string_view control_leaf = ".control";
constexpr std::chrono::seconds patience{10};
constexpr int look_again_ms = 50;

// Systemd knows; where it does not say so, an end that it had asked for.
bool stays_stopped() {
  if (const auto stays = os::unit_stays_stopped()) return *stays;
  const char* const result = std::getenv("SERVICE_RESULT");
  return result && std::string_view(result) == "success";
}

// The unit's own, seen from where this process is.
std::string unit_cgroup() {
  const auto own = os::own_cgroup();
  const auto slash = own.rfind('/');
  if (slash == std::string::npos || std::string_view(own).substr(slash + 1) != control_leaf) return "";
  return own.substr(0, slash);
}

template <class Call>
void each_leaf(const os::LeafCgroups& unit, Call&& call) {
  for (const auto& leaf : unit.list())
    if (leaf != control_leaf && unit.has_processes(leaf)) call(leaf);
}

bool anybody_left(const os::LeafCgroups& unit) {
  bool found = !unit.processes().empty();
  each_leaf(unit, [&found](const std::string&) { found = true; });
  return found;
}

void signal_all(const os::LeafCgroups& unit, int signal) {
  for (const pid_t pid : unit.processes()) ::kill(pid, signal);
  each_leaf(unit, [&](const std::string& leaf) { unit.signal(leaf, signal); });
}

}  // namespace

int clean_up() {
  if (!stays_stopped()) return EXIT_SUCCESS;
  const auto unit = os::LeafCgroups::in_delegated(unit_cgroup());
  if (!unit || !anybody_left(*unit)) return EXIT_SUCCESS;
  log::warning("reforkd is stopped, and has left workers: they are told to end");
  signal_all(*unit, SIGTERM);
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (anybody_left(*unit) && std::chrono::steady_clock::now() < deadline)
    ::poll(nullptr, 0, look_again_ms);
  if (anybody_left(*unit)) log::warning("workers that reforkd has left do not end: they are killed");
  for (const pid_t pid : unit->processes()) ::kill(pid, SIGKILL);
  for (const auto& leaf : unit->list())
    if (leaf != control_leaf) unit->end(leaf);
  return EXIT_SUCCESS;
}

}  // namespace refork
