// Packets in, packets out. Nothing here knows what an ELF file is.
#include "symbolizer/serve.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace refork::symbolizer {
namespace {

struct Packet {
  std::size_t size = 0;
  bool whole = false;
  base::UniqueFd executable;
};

// Keeps the first descriptor that came along, and closes the others.
base::UniqueFd take_descriptor(msghdr& message) {
  base::UniqueFd first;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      base::UniqueFd owned(fd);
      if (!first) first = std::move(owned);
    }
  }
  return first;
}

// 1: a packet; 0: the end; -1: an error.
int receive(int socket, std::vector<char>& buffer, Packet& packet) {
  alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
  iovec text{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t count;
  do count = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (count < 0 && errno == EINTR);
  if (count < 0) return -1;
  packet = {static_cast<std::size_t>(count), (message.msg_flags & MSG_TRUNC) == 0, take_descriptor(message)};
  return count == 0 ? 0 : 1;
}

proto::SymbolAnswer answer(Resolver& resolver, const proto::SymbolQuestion& question, int executable) {
  try {
    return resolver.answer(question, executable);
  } catch (const std::exception&) {  // no memory within the limit: it knows nothing
    return {question.id, {}};
  }
}

}  // namespace

bool serve(int socket, Resolver& resolver, const Limits& limits) {
  std::vector<char> buffer(proto::max_symbol_packet);
  for (;;) {
    pollfd ready{socket, POLLIN, 0};
    const int found = ::poll(&ready, 1, static_cast<int>(limits.idle.count()));
    if (found < 0 && errno == EINTR) continue;
    if (found <= 0) return found == 0;
    Packet packet;
    const int received = receive(socket, buffer, packet);
    if (received <= 0) return received == 0;
    const auto question = proto::decode_symbol_question({buffer.data(), packet.size});
    if (!packet.whole || !question) continue;
    ::alarm(limits.question_s);
    const auto text = proto::encode(answer(resolver, *question, packet.executable.get()));
    ::alarm(0);
    if (::send(socket, text.data(), text.size(), MSG_NOSIGNAL) < 0) return errno == EPIPE;
  }
}

}  // namespace refork::symbolizer
