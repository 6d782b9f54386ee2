#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "bus/access.h"

namespace refork::bus {

inline constexpr std::size_t max_socket_path = 107;  // sun_path less its end

// The private socket in the file system.
class ControlSocket {
 public:
  // A file nobody listens on is replaced; EADDRINUSE if somebody does. `group`: who may connect besides the
  // owner.
  static base::Result<ControlSocket> open(const std::string& path, mode_t mode, std::optional<gid_t> group);
  // One that open() made in another process, if it still listens at this path.
  static base::Result<ControlSocket> adopt(base::UniqueFd fd, const std::string& path);
  int fd() const noexcept { return fd_.get(); }
  void remove() noexcept;  // closes; the file goes only if it is still the one made here

 private:
  base::UniqueFd fd_;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// Who connected: SO_PEERCRED and SO_PEERGROUPS.
base::Result<Peer> peer_of(int fd);
// Nothing where there is no such group.
std::optional<gid_t> find_group(const std::string& name);

}  // namespace refork::bus
