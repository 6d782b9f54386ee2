#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "core/effects.h"
#include "os/fd_store.h"

namespace refork::supervisor {

// The names of stored descriptors: "web.3.17.pidfd" (service, slot, worker, what it is), "web.listen.2",
// "web.notify", "state", "history", "control".
std::string worker_fd(std::string_view service, std::uint32_t slot, core::WorkerId worker,
                      std::string_view what);
inline constexpr std::string_view pidfd_word = "pidfd", channel_word = "channel", recorder_word = "recorder";
inline constexpr const char *state_name = "state", *history_name = "history", *control_name = "control",
                            *keeper_exits_name = "keeper.exits";

// Whose a descriptor is, by its name.
struct WorkerKey {
  std::string service;
  std::uint32_t slot = 0;
  core::WorkerId worker = 0;
  bool operator<(const WorkerKey& other) const { return worker < other.worker; }
};
std::string listener_fd(std::string_view service, std::uint64_t number);
bool is_listener_fd(std::string_view name);
std::string notify_fd(std::string_view service);
std::optional<WorkerKey> parse_worker_fd(std::string_view name, std::string_view what);

// The descriptors that came from an earlier reforkd, until somebody takes them.
class Handover {
 public:
  explicit Handover(std::vector<os::InheritedFd> fds);
  // Nothing if there is none of this name. It stays in the store until it is forgotten there.
  base::UniqueFd take(const std::string& name, os::FdStore& store);
  // Of whom there is a descriptor of this kind left.
  std::vector<WorkerKey> workers(std::string_view service, std::string_view what) const;
  // All of this kind that are left; they are not kept any more.
  std::vector<base::UniqueFd> take_all(std::string_view what, os::FdStore& store);
  // The best of those whose names begin so and that `suits` likes (0: not at all); empty: none.
  std::string best(std::string_view prefix, const std::function<int(int fd)>& suits) const;
  // The best of those of exactly this name, which a service manager opened itself: they are not in the store.
  base::UniqueFd take_given(const std::string& name, const std::function<int(int fd)>& suits);
  // Whether this socket is also there under a name that reforkd gives to none: its opener gives it again.
  bool is_given(int fd) const;
  bool has(const std::string& name) const { return fds_.contains(name); }
  core::WorkerId highest_worker() const;
  std::uint64_t highest_listener() const;
  bool empty() const noexcept { return fds_.empty(); }
  // What nobody took is closed and removed from the store; the names, for the log. Not named: what is the
  // same as one of `had`, as a socket is that a manager gives with every start.
  std::vector<std::string> drop(os::FdStore& store, const std::vector<int>& had = {});

 private:
  std::multimap<std::string, base::UniqueFd> fds_;
};

}  // namespace refork::supervisor
