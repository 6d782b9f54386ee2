#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "core/service_config.h"

namespace refork::os {

// Who a worker runs as; empty optional members: unchanged.
struct Credentials {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  std::string name, home;
};
base::Result<Credentials> find_user(const std::string& name);  // EPERM without root unless it is the own user

// A descriptor that the child gets under a number of its own choice.
struct PassedFd {
  int fd = -1;      // borrowed
  int number = -1;  // in the child
};

// Everything a child needs, prepared before the fork: what it runs between fork and exec is
// async-signal-safe.
struct SpawnPlan {
  std::string program;  // resolved path, find_program()
  std::vector<std::string> argv;
  std::vector<std::string>
      environment;  // "A=b"; LISTEN_PID is added by the child itself when listen_fds is set
  bool listen_pid = false;
  std::string directory;  // empty: unchanged
  std::optional<Credentials> credentials;
  std::vector<core::Limit> limits;
  std::vector<PassedFd> fds;  // all others are closed
  int input = -1;             // stdin; -1: /dev/null
  int output = -1;            // stdout and stderr; -1: inherited
  bool no_new_privs = false;  // for good: nothing it executes gains rights
  // It waits before it executes the program until let_run(); should this process die before, it ends with
  // exit_not_executed.
  bool gated = false;
  bool usual_oom_score =
      false;  // 0, where this process is spared when memory runs out (oom_score_adj below 0)
  // reforkd or its keeper: SIGTERM, SIGINT and SIGHUP stay blocked in it, which takes them later, and it has
  // the raised limit of descriptors, or it could open none beside the many that it is given.
  bool own_program = false;
};

// A child in a process group of its own (pgid == pid).
struct Spawned {
  pid_t pid = 0;
  base::UniqueFd pidfd;
  base::UniqueFd errors;  // end of file: it has exec'd; otherwise one SpawnFailure, read_spawn_failure()
  base::UniqueFd gate;    // of a gated one
};

struct SpawnFailure {
  std::string step;  // "exec", "setuid", "chdir", "setrlimit nofile" ...
  int code = 0;      // errno
};

inline constexpr int exit_not_executed = 127;  // as shells have it

// Looks a command up in PATH of `environment` (or the daemon's) unless it has a slash: ENOENT, EACCES with a
// sentence.
base::Result<std::string> find_program(const std::string& command, const std::string& path);
base::Result<Spawned> spawn(const SpawnPlan& plan);
void let_run(Spawned& child);
// After `errors` became readable. Nothing: exec succeeded.
std::optional<SpawnFailure> read_spawn_failure(int errors);

}  // namespace refork::os
