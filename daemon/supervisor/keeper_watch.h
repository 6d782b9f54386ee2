#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "os/exit_log.h"
#include "os/fd_store.h"
#include "os/spawn.h"
#include "supervisor/loop.h"

namespace refork::supervisor {

// What reforkd knows of its keeper (keeper/keeper.h), or of the manager in its place: what that one has no
// room for is sent as soon as it has. A keeper that dies is replaced by a child of reforkd, which gets all
// that the other one kept.
class KeeperWatch {
 public:
  struct Setup {
    std::string identity;  // $REFORK_KEEPER: "PID.STARTTIME"; empty: there is none, and none is wanted
    std::string program;   // reforkd's
    std::vector<std::string> argv;  // reforkd's
  };
  KeeperWatch(Loop& loop, os::FdStore& store, Setup setup, std::function<void(pid_t)> replaced);
  KeeperWatch(const KeeperWatch&) = delete;
  KeeperWatch& operator=(const KeeperWatch&) = delete;
  ~KeeperWatch();

  bool wanted() const noexcept { return !setup_.identity.empty(); }
  void start();
  // Of the keeper that runs now; what a successor of this reforkd must be told.
  const std::string& identity() const noexcept { return setup_.identity; }
  pid_t pid() const noexcept { return pid_; }

 private:
  void watch(pid_t pid, base::UniqueFd pidfd);
  void on_death();
  void replace();
  void flush();
  base::Result<os::Spawned> spawn(int notify_socket) const;

  Loop& loop_;
  os::FdStore& store_;
  Setup setup_;
  std::function<void(pid_t)> replaced_;
  pid_t pid_ = 0;
  base::UniqueFd pidfd_;
  Loop::Source source_, retry_, flush_;
};

}  // namespace refork::supervisor
