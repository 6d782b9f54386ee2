#pragma once

#include <sys/socket.h>
#include <sys/stat.h>

// The file of a unix socket.
namespace refork::base {

// Binds it to a path so that its file is born with this mode, whatever the umask is: there is no moment with
// another one, and no name that somebody could point elsewhere before it is changed. Others must not make
// files meanwhile for which the umask counts. As bind(2): 0, or -1 with errno.
inline int bind_with_mode(int fd, const sockaddr* address, socklen_t size, mode_t mode) noexcept {
  if (::fchmod(fd, mode) != 0) return -1;
  const mode_t before = ::umask(0);
  const int result = ::bind(fd, address, size);
  ::umask(before);
  return result;
}

}  // namespace refork::base
