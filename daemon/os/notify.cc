// Both ends of sd_notify(3): what workers say to reforkd, and reforkd to its manager. Which words count, and
// from whom, is decided elsewhere; here it is only who can send at all.
#include "os/notify.h"

#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "base/socket_file.h"

namespace refork::os {
namespace {

constexpr std::size_t largest_message = 4096;
constexpr std::size_t most_passed_fds = 253;  // SCM_MAX_FD of the kernel
constexpr int most_skipped = 64;              // bad messages in one receive(): then the others get their turn
constexpr mode_t owner_only = 0600;

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

base::Result<void> pass_credentials(int fd) {
  const int on = 1;
  if (::setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0)
    return base::errno_error("SO_PASSCRED on the socket for notifications");
  return {};
}

base::Result<base::UniqueFd> make_socket() {
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return base::errno_error("socket for notifications");
  if (auto passed = pass_credentials(fd.get()); !passed) return passed.error();
  return fd;
}

// The socket API takes its addresses as sockaddr, whatever their family.
const sockaddr* generic(const sockaddr_un& address) {
  return static_cast<const sockaddr*>(static_cast<const void*>(&address));
}

base::Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  if (path.empty() || path[0] != '/' || path.size() >= sizeof address.sun_path)
    return base::Error{ENAMETOOLONG,
                       path + ": a socket's path has 2 to " + std::to_string(sizeof address.sun_path - 1) +
                           " bytes and begins with '/', this one has " + std::to_string(path.size())};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

base::Result<void> clear_way(const std::string& path) {
  struct stat there {};
  if (::lstat(path.c_str(), &there) != 0) return {};
  if (!S_ISSOCK(there.st_mode)) return base::Error{EEXIST, path + ": a file that is no socket is in the way"};
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return base::errno_error("remove stale " + path);
  return {};
}

// Asked of the kernel as that user, by this thread alone: each directory on the way has a say in it.
base::Result<void> check_way(const sockaddr_un& address, const Credentials& user) {
  const base::UniqueFd probe(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe) return base::errno_error("socket for notifications");
  const auto group = static_cast<gid_t>(::setfsgid(user.gid));
  const auto own = static_cast<uid_t>(::setfsuid(user.uid));
  const bool reached = ::connect(probe.get(), generic(address), sizeof address) == 0;
  const int code = errno;
  ::setfsuid(own);
  ::setfsgid(group);
  if (!reached) return base::errno_error(std::string(address.sun_path) + " as user " + user.name, code);
  return {};
}

}  // namespace

base::Result<NotifySocket> NotifySocket::open_file(const std::string& path,
                                                   const std::optional<Credentials>& user) {
  const auto address = address_of(path);
  if (!address) return address.error();
  if (auto cleared = clear_way(path); !cleared) return cleared.error();
  auto fd = make_socket();
  if (!fd) return fd.error();
  if (base::bind_with_mode(fd->get(), generic(*address), sizeof *address, owner_only) != 0)
    return base::errno_error("bind " + path);
  NotifySocket socket;
  socket.fd_ = std::move(*fd);
  socket.name_ = path;
  if (auto noted = socket.note_file(); !noted) return noted.error();
  if (auto given = socket.give_to(user); !given) {
    socket.remove();
    return given.error();
  }
  return socket;
}

base::Result<NotifySocket> NotifySocket::open_abstract() {
  auto fd = make_socket();
  if (!fd) return fd.error();
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  // No name: the kernel chooses one.
  if (::bind(fd->get(), generic(name), sizeof name.sun_family) != 0)
    return base::errno_error("bind the socket for notifications");
  return adopt(std::move(*fd));
}

base::Result<NotifyPair> NotifySocket::make_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) != 0)
    return base::errno_error("socketpair for notifications");
  NotifyPair pair;
  pair.socket.fd_.reset(ends[0]);
  pair.sender.reset(ends[1]);
  if (auto passed = pass_credentials(ends[0]); !passed) return passed.error();
  return pair;
}

base::Result<NotifySocket> NotifySocket::adopt(base::UniqueFd fd) {
  NotifySocket socket;
  socket.fd_ = std::move(fd);
  sockaddr_un name{};
  socklen_t size = sizeof name;
  if (::getsockname(socket.fd_.get(), reinterpret_cast<sockaddr*>(&name), &size) != 0)
    return base::errno_error("name of the notify socket");
  if (size <= offsetof(sockaddr_un, sun_path) + 1) return socket;  // of a pair
  const std::size_t length = size - offsetof(sockaddr_un, sun_path);
  if (name.sun_path[0] == '\0') {
    socket.name_ = "@" + std::string(name.sun_path + 1, length - 1);
    return socket;
  }
  socket.name_.assign(name.sun_path, ::strnlen(name.sun_path, length));
  if (auto noted = socket.note_file(); !noted) return noted.error();
  return socket;
}

base::Result<void> NotifySocket::note_file() {
  struct stat there {};
  if (::lstat(name_.c_str(), &there) != 0) return base::errno_error(name_);
  if (!S_ISSOCK(there.st_mode)) return base::Error{ENOENT, name_ + ": the socket is not there any more"};
  device_ = there.st_dev;
  inode_ = there.st_ino;
  return {};
}

base::Result<void> NotifySocket::give_to(const std::optional<Credentials>& user) const {
  if (inode_ == 0) return {};
  const uid_t uid = user ? user->uid : ::geteuid();
  // The user whose it was may have put something else in its place.
  const base::UniqueFd file(::open(name_.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat there {};
  if (!file || ::fstat(file.get(), &there) != 0) return base::errno_error(name_);
  if (there.st_dev != device_ || there.st_ino != inode_)
    return base::Error{ENOENT, name_ + ": the socket is not there any more"};
  if (::fchownat(file.get(), "", uid, static_cast<gid_t>(-1), AT_EMPTY_PATH) != 0)
    return base::errno_error("give " + name_ + " to " + (user ? "user " + user->name : "this user"));
  const auto address = address_of(name_);
  if (!address) return address.error();
  return user ? check_way(*address, *user) : base::Result<void>();
}

void NotifySocket::remove() noexcept {
  fd_.reset();
  struct stat there {};
  if (inode_ == 0 || ::lstat(name_.c_str(), &there) != 0) return;
  if (there.st_dev == device_ && there.st_ino == inode_) ::unlink(name_.c_str());
  inode_ = 0;
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
