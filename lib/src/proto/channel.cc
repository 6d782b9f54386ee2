// Packets on a SOCK_SEQPACKET socket, one message each. It neither waits nor queues: whoever polls the
// descriptor decides when to come again.

#include "proto/channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace refork::proto {
namespace {

// No message carries descriptors, so receive() offers no room for any: the kernel then drops them unopened
// and says so with MSG_CTRUNC. A message that may carry some needs a control buffer here.
static_assert(std::all_of(message_table.begin(), message_table.end(),
                          [](const auto& s) { return s.max_fds == 0; }));

base::Result<void> check_limits(const Message& message) {
  const auto* app = std::get_if<AppMessage>(&message);
  return app == nullptr ? base::Result<void>() : check_app_body(app->body);
}

// A packet of no bytes and the end of the stream look the same to recvmsg(2). At the end the peer has hung up
// and no packet follows.
bool is_end(int fd) {
  pollfd poll{fd, POLLIN | POLLRDHUP, 0};
  if (::poll(&poll, 1, 0) < 0 || (poll.revents & (POLLHUP | POLLRDHUP | POLLERR)) == 0) return false;
  char byte;
  return ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

}  // namespace

base::Result<Channel::Pair> Channel::make_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
    return base::errno_error("make the socket pair of a channel");
  return Pair{base::UniqueFd(fds[0]), base::UniqueFd(fds[1])};
}

base::Result<void> Channel::send(const Message& message) {
  if (const auto fits = check_limits(message); !fits) return fits;
  const std::string packet = encode(message);
  const auto& table = spec(type_of(message));
  if (packet.size() > table.max_size)
    return base::Error{EMSGSIZE, "\"" + std::string(base::to_name(table.type)) + "\" is at most " +
                                     std::to_string(table.max_size) + " bytes, this one has " +
                                     std::to_string(packet.size())};
  ssize_t sent;
  do {
    sent = ::send(fd_.get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return {};
  const bool full = errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM;
  return base::errno_error("send a message", full ? EAGAIN : errno);
}

Channel::Received Channel::receive() { return receive(0); }
Channel::Received Channel::peek() { return receive(MSG_PEEK); }

void Channel::consume() {
  char byte;
  ssize_t received;
  // ECONNRESET comes once, as for receive(): it consumes nothing.
  do received = ::recv(fd_.get(), &byte, 1, MSG_DONTWAIT);
  while (received < 0 && (errno == EINTR || errno == ECONNRESET));
}

Channel::Received Channel::receive(int flags) {
  if (!packet_) packet_.reset(new char[max_packet]);  // NOLINT: make_unique would clear it
  iovec io{packet_.get(), max_packet};
  msghdr header{};
  header.msg_iov = &io;
  header.msg_iovlen = 1;
  ssize_t received;
  do {
    received = ::recvmsg(fd_.get(), &header, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    // ECONNRESET comes once, before what the peer sent, if it left something of ours unread.
  } while (received < 0 && (errno == EINTR || errno == ECONNRESET));
  if (received < 0) {
    if (errno == EAGAIN) return Empty{};
    return Closed{};
  }
  if (header.msg_flags & MSG_CTRUNC) return Violation{"descriptors came with a message that carries none"};
  if (header.msg_flags & MSG_TRUNC)
    return Violation{"a message is at most " + std::to_string(max_packet) + " bytes"};
  if (received == 0) {
    if (is_end(fd_.get())) return Closed{};
    return Violation{"a packet without a message"};
  }
  auto message = decode(std::string_view(packet_.get(), static_cast<std::size_t>(received)));
  if (!message) return Violation{message.error().what};
  return std::move(*message);
}

}  // namespace refork::proto
