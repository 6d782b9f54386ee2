#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace refork::os {

// What sd_notify(3) of a worker says: NAME=VALUE lines, of a sender the kernel vouches for.
struct Notification {
  pid_t pid = 0;
  std::map<std::string, std::string> fields;
};

// A $NOTIFY_SOCKET for the workers of `ready: notify`, in the abstract namespace.
class NotifySocket {
 public:
  static base::Result<NotifySocket> open();
  int fd() const noexcept { return fd_.get(); }
  const std::string& name() const noexcept { return name_; }  // for $NOTIFY_SOCKET: "@..."
  std::optional<Notification> receive();  // nothing: empty. Descriptors that come along are closed.

 private:
  base::UniqueFd fd_;
  std::string name_;
};

// To reforkd's own $NOTIFY_SOCKET, if there is one.
void notify_manager(std::string_view state);

}  // namespace refork::os
