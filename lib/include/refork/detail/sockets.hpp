#pragma once

// What the adapters that accept for themselves do with their sockets. Not for other use.

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>

#include "refork/worker.hpp"

namespace refork::detail {

// How long a closed connection is still read from, so that unread input does not reset the answer on its way.
inline constexpr std::chrono::milliseconds kLinger{500};
// How long accepting rests when there are no descriptors left.
inline constexpr std::chrono::milliseconds kAcceptAgain{50};

enum class Accepted {
  one,
  none,
  exhausted,  // no descriptors or memory left
};

// Whether nobody else holds the socket, whose queue then dies with it.
inline bool is_own(const Worker& worker, const Listener& listener) {
  const auto& passed = worker.listeners();
  return std::none_of(passed.begin(), passed.end(),
                      [&](const Listener& other) { return other.fd == listener.fd; });
}

inline int family_of(int socket) noexcept {
  int family = AF_UNSPEC;
  socklen_t length = sizeof family;
  ::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &length);
  return family;
}

inline void make_nonblocking(int socket) noexcept {
  ::fcntl(socket, F_SETFL, ::fcntl(socket, F_GETFL) | O_NONBLOCK);
}

// The descriptor of the next connection, or -1 and errno: EAGAIN if there is none.
inline int accept(int listener) noexcept {
  int fd = -1;
  do  // one that is gone again is no reason to leave those behind it
    fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  while (fd < 0 && (errno == ECONNABORTED || errno == EINTR));
  const int on = 1;
  if (fd >= 0)  // fails for a unix socket, which needs none
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

// What a client has done since it was last read from.
enum class Client {
  silent,
  sent,
  left,
};

inline Client receive(int connection, char* bytes, std::size_t size, int flags) noexcept {
  const ssize_t got = ::recv(connection, bytes, size, flags | MSG_DONTWAIT);
  if (got > 0) return Client::sent;
  return got < 0 && errno == EAGAIN ? Client::silent : Client::left;
}
inline Client peek(int connection) noexcept {
  char byte;
  return receive(connection, &byte, 1, MSG_PEEK);
}
// Some of what arrived is read and forgotten.
inline Client discard(int connection) noexcept {
  char unread[4096];
  return receive(connection, unread, sizeof unread, 0);
}

// Its close will tell the client that the answer is no whole one.
inline void reset_on_close(int connection) noexcept {
  const struct linger reset { 1, 0 };
  ::setsockopt(connection, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

}  // namespace refork::detail
