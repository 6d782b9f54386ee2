// How a worker learns that it is one: the descriptors it inherited and the variables that name them. Runs
// once, before other threads start, because it changes the environment.

#include "worker/environment.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace refork::worker {
namespace {

constexpr int first_listener = 3;  // SD_LISTEN_FDS_START
constexpr int max_listeners = 4096;

std::optional<std::string> take(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr) return std::nullopt;
  std::string taken = value;
  unsetenv(name);
  return taken;
}

std::optional<int> to_number(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

bool set_cloexec(int fd) {
  const int flags = fcntl(fd, F_GETFD);
  return flags >= 0 && fcntl(fd, F_SETFD, flags | FD_CLOEXEC) == 0;
}

base::Result<base::UniqueFd> take_fd(const char* variable, const std::string& value) {
  const auto fd = to_number(value);
  if (!fd)
    return base::Error{EINVAL,
                       std::string("$") + variable + " is \"" + value + "\": expected a descriptor's number"};
  if (!set_cloexec(*fd))
    return base::Error{EBADF, std::string("$") + variable + " is " + value + ", which is no open descriptor"};
  return base::UniqueFd(*fd);
}

bool is_seqpacket(int fd) {
  int type = 0, family = 0;
  socklen_t size = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET) return false;
  size = sizeof family;
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 && family == AF_UNIX;
}

base::Result<base::UniqueFd> take_channel(const std::string& value) {
  auto fd = take_fd("REFORK_CHANNEL", value);
  if (!fd || is_seqpacket(fd->get())) return fd;
  return base::Error{ENOTSOCK,
                     "$REFORK_CHANNEL is " + value + ", which is no SOCK_SEQPACKET socket of AF_UNIX"};
}

base::Result<base::UniqueFd> take_recorder(const std::optional<std::string>& value) {
  if (!value) return base::Error{EINVAL, "$REFORK_CHANNEL is set but $REFORK_RECORDER is not"};
  return take_fd("REFORK_RECORDER", *value);
}

// A descriptor that was meant for the parent: this process only keeps it from ever being closed.
void drop(const std::optional<std::string>& value) {
  struct stat status {};
  const auto fd = value ? to_number(*value) : std::nullopt;
  if (fd && *fd > STDERR_FILENO && fstat(*fd, &status) == 0) ::close(*fd);
}

std::vector<std::string> split_names(const std::string& names) {
  std::vector<std::string> parts;
  std::size_t start = 0;
  while (!names.empty() && start <= names.size()) {
    const auto end = std::min(names.find(':', start), names.size());
    parts.push_back(names.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

base::Result<std::vector<Listener>> take_listeners(const std::string& count_text,
                                                   const std::string& names_text) {
  const auto count = to_number(count_text);
  if (!count || *count > max_listeners)
    return base::Error{EINVAL, "$LISTEN_FDS is \"" + count_text + "\": expected a number up to " +
                                   std::to_string(max_listeners)};
  const auto names = split_names(names_text);
  std::vector<Listener> listeners;
  for (int i = 0; i < *count; ++i) {
    const int fd = first_listener + i;
    if (!set_cloexec(fd))
      return base::Error{
          EBADF, "$LISTEN_FDS is " + count_text + ", but descriptor " + std::to_string(fd) + " is not open"};
    const auto position = static_cast<std::size_t>(i);
    const bool named = position < names.size() && !names[position].empty();
    listeners.push_back({fd, named ? names[position] : "unknown", address_of(fd)});
  }
  return listeners;
}

std::string inet_address(int family, const void* address, std::uint16_t port) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(family, address, text, sizeof text);
  const std::string host = family == AF_INET6 ? "[" + std::string(text) + "]" : text;
  return "tcp://" + host + ":" + std::to_string(ntohs(port));
}

std::string unix_address(const sockaddr_un& address, socklen_t size) {
  const std::size_t length = size - offsetof(sockaddr_un, sun_path);
  if (length == 0) return "unix:";
  if (address.sun_path[0] == '\0') return "unix:@" + std::string(address.sun_path + 1, length - 1);
  return "unix:" + std::string(address.sun_path, strnlen(address.sun_path, length));
}

}  // namespace

std::string address_of(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
  if (storage.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(storage);
    return inet_address(AF_INET, &in.sin_addr, in.sin_port);
  }
  if (storage.ss_family == AF_INET6) {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(storage);
    return inet_address(AF_INET6, &in.sin6_addr, in.sin6_port);
  }
  if (storage.ss_family == AF_UNIX) return unix_address(reinterpret_cast<const sockaddr_un&>(storage), size);
  return {};
}

base::Result<Environment> take_environment() {
  const auto channel = take("REFORK_CHANNEL"), recorder = take("REFORK_RECORDER");
  const auto count = take("LISTEN_FDS"), names = take("LISTEN_FDNAMES"), pid = take("LISTEN_PID");
  Environment environment;
  if (pid && to_number(*pid) != getpid()) {
    drop(channel);
    drop(recorder);
    return environment;
  }
  if (channel) {
    auto fd = take_channel(*channel);
    if (!fd) return fd.error();
    auto recorder_fd = take_recorder(recorder);
    if (!recorder_fd) return recorder_fd.error();
    environment.channel = *std::move(fd);
    environment.recorder = *std::move(recorder_fd);
  }
  if (count && pid) {
    auto listeners = take_listeners(*count, names.value_or(""));
    if (!listeners) return listeners.error();
    environment.listeners = *std::move(listeners);
  }
  return environment;
}

}  // namespace refork::worker
