#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace refork::os {

// What sd_notify(3) says: NAME=VALUE lines and perhaps descriptors, of a sender the kernel vouches for.
struct Notification {
  pid_t pid = 0;
  std::map<std::string, std::string> fields;
  std::vector<base::UniqueFd> fds;
};

// A $NOTIFY_SOCKET for others, in the abstract namespace.
class NotifySocket {
 public:
  static base::Result<NotifySocket> open();
  static base::Result<NotifySocket> adopt(base::UniqueFd socket);  // one that open() made in another process
  int fd() const noexcept { return fd_.get(); }
  const std::string& name() const noexcept { return name_; }  // for $NOTIFY_SOCKET: "@..."
  std::optional<Notification> receive();                      // nothing: empty

 private:
  base::UniqueFd fd_;
  std::string name_;
};

// To reforkd's own $NOTIFY_SOCKET, if there is one.
void notify_manager(std::string_view state);

}  // namespace refork::os
