#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "core/service_config.h"
#include "os/fd_store.h"
#include "supervisor/keeper_watch.h"

namespace refork {

// Set where a reforkd has executed this one.
inline constexpr const char* executed_variable = "REFORK_EXECUTED";

// How this program was started, and is started again: by the same path, so that a new version takes over.
struct Program {
  Program(int argc, char** argv);

  std::vector<std::string> argv;
  std::string path;  // absolute

  std::vector<std::string> keeper_argv() const;
  // That it can be executed, and is told nothing wrong; what it will be told.
  base::Result<core::DaemonConfig> check() const;
  // In this process, with all that `fds` keeps, as if a keeper had started it. Returns only if it fails.
  base::Error execute(const os::FdStore& fds, const supervisor::KeeperWatch& keeper) const;
};

}  // namespace refork
