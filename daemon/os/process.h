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

// The one place that reads an exit status. Nothing while the process lives, and nothing for a process that is
// not our child.
std::optional<ExitStatus> reap(int pidfd);
// A child that has ended by this signal and was not reaped yet.
bool has_ended_by(int pidfd, int signal);
// The same, but it is still to be reaped.
std::optional<ExitStatus> exit_of_child(int pidfd);
bool has_ended(int pidfd);
// How a process ended that somebody else has reaped: the kernel tells, since Linux 6.15. Nothing: not yet, or
// not here.
std::optional<ExitStatus> told_exit(int pidfd);
// How a process ended that its parent has not reaped. Nothing too where it exited with code 0: the kernel
// says the same to those whom it tells nothing.
std::optional<ExitStatus> exit_of_unreaped(pid_t pid, std::uint64_t start_time);
bool is_child(int pidfd);
// The process that a pidfd stands for, by /proc; 0 once that was reaped.
pid_t pid_of(int pidfd);
// Reaps whatever else was inherited as a subreaper. Call on SIGCHLD, after the known ones; `known` pids are
// left alone.
void reap_strangers(const std::vector<pid_t>& known);
// One child that has ended, whoever it is, still to be reaped: its pid, 0 for none.
pid_t ended_child();
std::optional<ExitStatus> reap_child(pid_t pid);

base::Result<base::UniqueFd> open_pidfd(pid_t pid);
void signal_process(int pidfd, int signal);  // pidfd_send_signal; a dead one is fine
// The group that this process leads, even if the leader was reaped: its number is nobody else's, or the
// kernel is too old to say so and only a leader of this start time still guards it.
void signal_group(int pidfd, pid_t pgid, std::uint64_t start_time, int signal);
std::uint64_t rss_bytes(pid_t pid);   // 0 if unknown
std::uint64_t start_time(pid_t pid);  // field 22 of /proc/PID/stat, 0 if there is none
std::uint64_t own_start_ms();         // of this process, whatever it has executed since; Unix time
bool has_executed(pid_t pid);         // a program, since it was forked; false too if nobody knows
// What whoever started this process has left open, from this number on. First of all: nobody else may have
// any.
void close_from(int number);
void become_subreaper();
// A supervisor of many workers has many descriptors: its own soft limit becomes the hard one. Children get
// the old limit back, or what this variable says: so a reforkd tells the next one, and a unit reforkd itself.
inline constexpr const char* descriptor_limit_variable = "REFORK_NOFILE";
void raise_descriptor_limit();
std::optional<rlimit> inherited_descriptor_limit();  // nothing: it was never raised

}  // namespace refork::os
