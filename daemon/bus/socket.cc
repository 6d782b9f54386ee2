// The private socket as a file: made with its mode before anybody can connect, taken over when stale, removed
// when still ours. Knows nothing of D-Bus.
#include "bus/socket.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "base/socket_file.h"

namespace refork::bus {

namespace {

using base::errno_error;
using base::Error;
using base::Result;
using base::UniqueFd;

UniqueFd unix_socket() { return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); }

// The socket API takes its addresses as sockaddr, whatever their family.
const sockaddr* generic(const sockaddr_un& address) {
  return static_cast<const sockaddr*>(static_cast<const void*>(&address));
}

Result<void> clear_stale(const std::string& path, const sockaddr_un& address) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) < 0) {
    if (errno == ENOENT) return {};
    return errno_error("control socket " + path);
  }
  if (!S_ISSOCK(info.st_mode))
    return Error{EEXIST, "control socket " + path + ": a file that is no socket is in the way"};
  const UniqueFd probe = unix_socket();
  if (!probe) return errno_error("control socket");
  if (::connect(probe.get(), generic(address), sizeof address) == 0 || errno == EAGAIN)
    return Error{EADDRINUSE, "control socket " + path + ": another reforkd is listening there"};
  if (errno != ECONNREFUSED && errno != ENOENT) return errno_error("control socket " + path);
  if (::unlink(path.c_str()) < 0 && errno != ENOENT)
    return errno_error("remove stale control socket " + path);
  return {};
}

}  // namespace

Result<ControlSocket> ControlSocket::open(const std::string& path, mode_t mode, std::optional<gid_t> group) {
  if (path.empty() || path.size() > max_socket_path)
    return Error{ENAMETOOLONG, "control socket " + path + ": the path has " + std::to_string(path.size()) +
                                   " bytes, a socket's may have 1 to " + std::to_string(max_socket_path)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (auto cleared = clear_stale(path, address); !cleared) return cleared.error();

  ControlSocket socket;
  socket.fd_ = unix_socket();
  if (!socket.fd_) return errno_error("control socket");
  if (base::bind_with_mode(socket.fd_.get(), generic(address), sizeof address, mode) < 0)
    return errno_error("control socket " + path);
  socket.path_ = path;
  const UniqueFd file(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  if (!file || ::fstat(file.get(), &info) < 0) return errno_error("control socket " + path);
  if (!S_ISSOCK(info.st_mode) || info.st_uid != ::geteuid())
    return Error{EPERM, "control socket " + path + ": somebody put another file in its place"};
  socket.device_ = info.st_dev;
  socket.inode_ = info.st_ino;
  // Nobody can connect before listen(), so the group that bind() left behind never counts.
  Result<void> result;
  if (group && ::fchownat(file.get(), "", static_cast<uid_t>(-1), *group, AT_EMPTY_PATH) < 0)
    result = errno_error("set the group of control socket " + path);
  else if (::listen(socket.fd_.get(), SOMAXCONN) < 0)
    result = errno_error("listen on control socket " + path);
  if (result) return socket;
  socket.remove();
  return result.error();
}

Result<ControlSocket> ControlSocket::adopt(UniqueFd fd, const std::string& path) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  struct stat info {};
  if (::getsockname(fd.get(), static_cast<sockaddr*>(static_cast<void*>(&address)), &size) < 0 ||
      path != std::string(address.sun_path, ::strnlen(address.sun_path, sizeof address.sun_path)) ||
      ::lstat(path.c_str(), &info) < 0 || !S_ISSOCK(info.st_mode))
    return Error{ENOENT, "control socket " + path + ": the one kept for it is not there any more"};
  ControlSocket socket;
  socket.fd_ = std::move(fd);
  socket.path_ = path;
  socket.device_ = info.st_dev;
  socket.inode_ = info.st_ino;
  return socket;
}

void ControlSocket::remove() noexcept {
  fd_.reset();
  struct stat info {};
  if (path_.empty() || ::lstat(path_.c_str(), &info) < 0) return;
  if (info.st_dev == device_ && info.st_ino == inode_) ::unlink(path_.c_str());
  path_.clear();
}

Result<Peer> peer_of(int fd) {
  ucred who{};
  socklen_t size = sizeof who;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0) return errno_error("credentials of a peer");
  Peer peer{who.uid, who.gid, {}};
  // Asked with no room, the kernel says how much it wants.
  size = 0;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, nullptr, &size) < 0 && errno == ERANGE) {
    peer.groups.resize(size / sizeof(gid_t));
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &size) < 0) peer.groups.clear();
  }
  return peer;
}

std::optional<gid_t> find_group(const std::string& name) {
  std::string buffer(16384, '\0');
  group entry{};
  group* found = nullptr;
  if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || !found)
    return std::nullopt;
  return found->gr_gid;
}

}  // namespace refork::bus
