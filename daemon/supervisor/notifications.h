#pragma once

#include <functional>
#include <optional>
#include <string>

#include "core/service_config.h"
#include "os/fd_store.h"
#include "os/notify.h"
#include "supervisor/handover.h"
#include "supervisor/loop.h"

namespace refork::supervisor {

// The $NOTIFY_SOCKET of one service whose workers are ready by it. It outlives reforkd, so that workers that
// know its name need no other.
class Notifications {
 public:
  using Take = std::function<void(const os::Notification&)>;
  Notifications(Loop& loop, os::FdStore& store, Take take)
      : loop_(loop), store_(store), take_(std::move(take)) {}

  // The one that an earlier reforkd had, or else a new one if the service needs it: a file at `path`, for the
  // service's user alone; an abstract one, with a warning, where there can be no such file.
  void open(const core::ServiceConfig& config, const std::string& path, Handover& handover);
  const std::string& name() const noexcept { return name_; }  // empty: there is none
  void close();

 private:
  using User = std::optional<os::Credentials>;
  void adopt(base::UniqueFd kept, const User& user);
  void make(const std::string& path, const base::Result<User>& user);
  void warn(const std::string& what) const;
  void receive();

  Loop& loop_;
  os::FdStore& store_;
  Take take_;
  std::string service_, name_;
  std::optional<os::NotifySocket> socket_;
  Loop::Source source_;
};

}  // namespace refork::supervisor
