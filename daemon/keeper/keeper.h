#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"

// The small process that stands behind reforkd where no service manager keeps its descriptors.
namespace refork::keeper {

// A reforkd that runs already, whose keeper died: its child takes the place.
struct Running {
  pid_t pid = 0;
  base::UniqueFd pidfd, notify_socket;  // it has the other end already
};

struct Setup {
  std::string program;            // what is executed, an absolute path
  std::vector<std::string> argv;  // of reforkd, [0] included
  std::optional<Running> running;
};

// Starts reforkd, keeps what it stores, starts it again when it dies, and hands everything back to it.
// Returns reforkd's exit code once that has ended by itself. Signals are blocked, and descriptors from 3 on
// are taken over as sd_listen_fds(3) says.
int run(Setup setup);

// How reforkd knows its keeper: "PID.STARTTIME" in this variable.
inline constexpr const char* variable = "REFORK_KEEPER";
// How a keeper knows whom it is to keep: the pid of its parent. The notify socket is this descriptor then.
inline constexpr const char* running_variable = "REFORK_KEEPS";
inline constexpr int running_socket = 3;
// The keeper's own entries among the descriptors: what keeps the exit statuses that it has seen, and what
// reforkd stores through. That socket has no name: nobody but reforkd can send.
inline constexpr const char *exits_name = "keeper.exits", *store_name = "keeper.store";

}  // namespace refork::keeper
