#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace refork::os {

struct ExitStatus {
  std::optional<int> code;
  std::optional<int> signal;
  bool core = false;
};

// The one place that reads an exit status. Nothing while the process lives, `lost` status (both empty) for a
// process that is not our child.
std::optional<ExitStatus> reap(int pidfd);
// A child that has ended by this signal and was not reaped yet.
bool has_ended_by(int pidfd, int signal);
// Reaps whatever else was inherited as a subreaper. Call on SIGCHLD, after the known ones; `known` pids are
// left alone.
void reap_strangers(const std::vector<pid_t>& known);

base::Result<base::UniqueFd> open_pidfd(pid_t pid);
void signal_process(int pidfd, int signal);  // pidfd_send_signal; a dead one is fine
void signal_group(pid_t pgid, int signal);   // killpg; only before the leader is reaped
std::uint64_t rss_bytes(pid_t pid);          // 0 if unknown
std::uint64_t start_time(pid_t pid);         // field 22 of /proc/PID/stat, 0 if there is none
void become_subreaper();
// A supervisor of many workers has many descriptors: its own soft limit becomes the hard one. Children get
// the old limit back.
void raise_descriptor_limit();
std::optional<rlimit> inherited_descriptor_limit();  // nothing: it was never raised

}  // namespace refork::os
