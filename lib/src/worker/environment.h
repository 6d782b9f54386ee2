#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "refork/worker.hpp"

namespace refork::worker {

// What whoever started this process passed on to it.
struct Environment {
  base::UniqueFd channel;   // none: there is no reforkd
  base::UniqueFd recorder;  // together with the channel
  std::vector<Listener> listeners;
};

// Takes REFORK_CHANNEL, REFORK_RECORDER, LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES out of the environment and
// makes what they name CLOEXEC. All of it is for the process whose pid is LISTEN_PID; for its children there
// is nothing. An error says which variable is wrong, and how.
base::Result<Environment> take_environment();

// "tcp://127.0.0.1:8080", "tcp://[::1]:80", "unix:/run/web.sock", "unix:@name" for an abstract one; empty for
// a socket of another family, or no socket.
std::string address_of(int fd);

}  // namespace refork::worker
