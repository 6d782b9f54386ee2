// Both ends of sd_notify(3): what workers say to reforkd, and reforkd to its manager. Which words count, and
// from whom, is decided elsewhere.
#include "os/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

namespace refork::os {
namespace {

constexpr std::size_t largest_message = 4096;
constexpr std::size_t most_passed_fds = 253;  // SCM_MAX_FD of the kernel
constexpr int most_skipped = 64;              // bad messages in one receive(): then the others get their turn

struct Received {
  std::array<char, largest_message> text;
  std::size_t size = 0;
  bool complete = false;
  pid_t sender = 0;
  std::vector<base::UniqueFd> fds;
};

void take_passed(const cmsghdr& header, std::vector<base::UniqueFd>& fds) {
  const std::size_t count = (header.cmsg_len - CMSG_LEN(0)) / sizeof(int);
  const unsigned char* data = CMSG_DATA(&header);
  for (std::size_t i = 0; i < count; ++i) {
    int fd;
    std::memcpy(&fd, data + i * sizeof fd, sizeof fd);
    fds.emplace_back(fd);
  }
}

void read_control(msghdr& message, Received& received) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET) continue;
    if (header->cmsg_type == SCM_RIGHTS) take_passed(*header, received.fds);
    if (header->cmsg_type != SCM_CREDENTIALS) continue;
    ucred who{};
    std::memcpy(&who, CMSG_DATA(header), sizeof who);
    received.sender = who.pid;
  }
}

// False: there is no message.
bool receive_one(int fd, Received& received) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(most_passed_fds * sizeof(int))>
      control;
  iovec text{received.text.data(), received.text.size()};
  msghdr message{};
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t count;
  do count = ::recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (count < 0 && errno == EINTR);
  if (count < 0) return false;
  read_control(message, received);
  received.size = static_cast<std::size_t>(count);
  received.complete = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
  return true;
}

// Lines without a name or a `=` say nothing and are passed over.
std::map<std::string, std::string> parse_fields(std::string_view text) {
  std::map<std::string, std::string> fields;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::size_t equals = line.find('=');
    if (equals != std::string_view::npos && equals > 0)
      fields.insert_or_assign(std::string(line.substr(0, equals)), std::string(line.substr(equals + 1)));
  }
  return fields;
}

}  // namespace

base::Result<NotifySocket> NotifySocket::open() {
  NotifySocket socket;
  socket.fd_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.fd_) return base::errno_error("socket for notifications");
  const int on = 1;
  if (::setsockopt(socket.fd_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0)
    return base::errno_error("SO_PASSCRED on the socket for notifications");
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  // No name: the kernel chooses one in the abstract namespace.
  if (::bind(socket.fd_.get(), reinterpret_cast<sockaddr*>(&name), sizeof name.sun_family) != 0)
    return base::errno_error("bind the socket for notifications");
  return adopt(std::move(socket.fd_));
}

base::Result<NotifySocket> NotifySocket::adopt(base::UniqueFd fd) {
  NotifySocket socket;
  socket.fd_ = std::move(fd);
  sockaddr_un name{};
  socklen_t size = sizeof name;
  if (::getsockname(socket.fd_.get(), reinterpret_cast<sockaddr*>(&name), &size) != 0)
    return base::errno_error("name of the notify socket");
  if (size <= offsetof(sockaddr_un, sun_path) + 1)
    return base::Error{EINVAL, "the socket for notifications has no name"};
  const std::size_t length = size - offsetof(sockaddr_un, sun_path);
  socket.name_ = "@" + std::string(name.sun_path + 1, length - 1);
  return socket;
}

std::optional<Notification> NotifySocket::receive() {
  for (int skipped = 0; skipped < most_skipped; ++skipped) {
    Received received;
    if (!receive_one(fd_.get(), received)) break;
    const std::string_view text(received.text.data(), received.size);
    if (!received.complete || received.sender <= 0 || text.find('\0') != std::string_view::npos) continue;
    if (auto fields = parse_fields(text); !fields.empty())
      return Notification{received.sender, std::move(fields), std::move(received.fds)};
  }
  return std::nullopt;
}

void notify_manager(std::string_view state) { ::sd_notify(0, std::string(state).c_str()); }

}  // namespace refork::os
