// The sockets that reforkd listens on and keeps: opening them, with words for what can go wrong, and noticing
// that somebody broke one. Who accepts from them, and what happens to a worker that broke one, is decided
// elsewhere.
#include "os/listener.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "base/socket_file.h"
#include "os/file.h"

namespace refork::os {
namespace {

// Of a unix socket's file: as of a port, who may connect is not decided here. Its directory may be closed.
constexpr mode_t everybody = 0666;
constexpr std::string_view any_ipv4 = "0.0.0.0", any_ipv6 = "::";
constexpr int backlog = 4096;  // the kernel takes less where net.core.somaxconn is lower

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

std::string in_words(const Address& address) {
  if (address.family == Address::Family::unix_socket) return "unix:" + address.path;
  const bool v6 = address.host.find(':') != std::string::npos;
  return "tcp://" + (v6 ? "[" + address.host + "]" : address.host) + ":" + address.port;
}

base::Error socket_error(const Address& address, int code = errno) {
  const bool tcp = address.family == Address::Family::tcp;
  std::string why;
  if (code == EADDRINUSE) why = tcp ? "the port is taken" : "another process listens there";
  if (code == EADDRINUSE && address.host == "::") why += " (tcp://[::] takes IPv4 as well)";
  if (code == EACCES && tcp) why = "a port this low needs root or CAP_NET_BIND_SERVICE";
  if (code == EACCES && !tcp) why = "no permission to make a socket there";
  if (code == EADDRNOTAVAIL && tcp) why = "this machine has no such address";
  if (code == EAFNOSUPPORT) why = "this machine has no such kind of address";
  if (code == ENOENT) why = "the directory does not exist";
  const std::string reason = std::strerror(code);
  return {code, in_words(address) + ": " + (why.empty() ? reason : why + " (" + reason + ")")};
}

int look_up(const Address& address, int flags, Addresses& found) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV | flags;
  addrinfo* list = nullptr;
  const int result = ::getaddrinfo(address.host.c_str(), address.port.c_str(), &wanted, &list);
  if (result == 0) found.reset(list);
  return result;
}

// A numeric host as it stands. A name listens on its first IPv4 address, on an IPv6 one only if it has no
// other: one line of `listen` is one socket, and `localhost` should be reachable where there is no IPv6.
const addrinfo* choose(const addrinfo* list) {
  for (const addrinfo* entry = list; entry; entry = entry->ai_next)
    if (entry->ai_family == AF_INET) return entry;
  return list;
}

base::Result<base::UniqueFd> make_socket(const Address& address, int family, bool nonblocking) {
  base::UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0));
  if (!fd) return socket_error(address);
  return fd;
}

base::Result<Addresses> resolve(const Address& address) {
  Addresses found;
  int result = look_up(address, AI_NUMERICHOST, found);
  if (result == EAI_NONAME) result = look_up(address, 0, found);
  if (result != 0)
    return base::Error{EADDRNOTAVAIL, in_words(address) + ": the host \"" + address.host +
                                          "\" is no address and no known name (" + ::gai_strerror(result) +
                                          ")"};
  return found;
}

base::Result<base::UniqueFd> listen_tcp(const Address& address, bool nonblocking) {
  const auto found = resolve(address);
  if (!found) return found.error();
  const addrinfo* chosen = choose(found->get());
  auto fd = make_socket(address, chosen->ai_family, nonblocking);
  if (!fd) return fd;
  const int on = 1, off = 0;
  ::setsockopt(fd->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // `[::]` takes IPv4 too, whatever net.ipv6.bindv6only says; for other IPv6 addresses it makes no
  // difference.
  if (chosen->ai_family == AF_INET6) ::setsockopt(fd->get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (::bind(fd->get(), chosen->ai_addr, chosen->ai_addrlen) != 0 || ::listen(fd->get(), backlog) != 0)
    return socket_error(address);
  return fd;
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);  // parse_address() has seen the length
  return name;
}

// Removes the file of a socket that nobody listens on any more; anything else at the path stays.
base::Result<void> remove_stale(const Address& address) {
  const auto place = find_place(address.path);
  if (!place)
    return place.error().code == ELOOP ? base::Error{ELOOP, in_words(address) + ": " + place.error().what}
                                       : socket_error(address, place.error().code);
  struct stat status {};
  if (::fstatat(place->directory.get(), place->name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return {};
  if (!S_ISSOCK(status.st_mode))
    return base::Error{EEXIST, in_words(address) +
                                   ": there is a file that is no socket, and it is left alone; "
                                   "remove it or listen elsewhere"};
  const base::UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return socket_error(address);
  const sockaddr_un name = unix_address(address.path);
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0 ||
      errno != ECONNREFUSED)
    return socket_error(address, errno == EACCES ? EACCES : EADDRINUSE);
  if (::unlinkat(place->directory.get(), place->name.c_str(), 0) != 0 && errno != ENOENT)
    return socket_error(address);
  return {};
}

base::Result<base::UniqueFd> listen_unix(const Address& address, bool nonblocking) {
  if (auto gone = remove_stale(address); !gone) return gone.error();
  auto fd = make_socket(address, AF_UNIX, nonblocking);
  if (!fd) return fd;
  const sockaddr_un name = unix_address(address.path);
  if (base::bind_with_mode(fd->get(), reinterpret_cast<const sockaddr*>(&name), sizeof name, everybody) !=
          0 ||
      ::listen(fd->get(), backlog) != 0)
    return socket_error(address);
  return fd;
}

base::Result<base::UniqueFd> listen_at(const Address& address, bool nonblocking) {
  return address.family == Address::Family::tcp ? listen_tcp(address, nonblocking)
                                                : listen_unix(address, nonblocking);
}

std::string numeric_host(const sockaddr* name, socklen_t size) {
  char host[NI_MAXHOST] = "";
  ::getnameinfo(name, size, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
  return host;
}

// As a socket would be bound there; empty: nobody knows its name.
std::string host_of(const Address& address) {
  const auto found = resolve(address);
  if (!found) return "";
  const addrinfo* chosen = choose(found->get());
  return numeric_host(chosen->ai_addr, chosen->ai_addrlen);
}

bool takes_ipv4_too(int fd) {
  int only_ipv6 = 0;
  socklen_t size = sizeof only_ipv6;
  return ::getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_ipv6, &size) == 0 && only_ipv6 == 0;
}

// Where a socket is bound, its host as a number; nothing for one of another kind.
std::optional<Address> bound_to(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  auto* const name = reinterpret_cast<sockaddr*>(&storage);
  if (::getsockname(fd, name, &size) != 0) return std::nullopt;
  if (storage.ss_family == AF_UNIX)
    return Address{
        Address::Family::unix_socket, {}, {}, reinterpret_cast<const sockaddr_un*>(name)->sun_path};
  if (storage.ss_family != AF_INET && storage.ss_family != AF_INET6) return std::nullopt;
  char port[NI_MAXSERV] = "0";
  ::getnameinfo(name, size, nullptr, 0, port, sizeof port, NI_NUMERICSERV);
  return Address{Address::Family::tcp, numeric_host(name, size), port, {}};
}

std::string bound_port(int fd) {
  const auto bound = bound_to(fd);
  return bound ? bound->port : "0";
}

}  // namespace

base::Result<ListenSocket> ListenSocket::open(const std::string& address, bool nonblocking) {
  auto parsed = parse_address(address);
  if (!parsed) return parsed.error();
  ListenSocket socket;
  socket.parsed_ = *std::move(parsed);
  socket.nonblocking_ = nonblocking;
  if (auto opened = socket.reopen(); !opened) return opened.error();
  return socket;
}

base::Result<ListenSocket> ListenSocket::adopt(const std::string& address, const std::string& bound,
                                               base::UniqueFd fd, std::uint64_t inode, bool nonblocking) {
  auto parsed = parse_address(address);
  if (!parsed) return parsed.error();
  ListenSocket socket;
  socket.fd_ = std::move(fd);
  socket.parsed_ = *std::move(parsed);
  socket.nonblocking_ = nonblocking;
  socket.address_ = bound;
  socket.inode_ = static_cast<ino_t>(inode);
  int listens = 0;
  socklen_t size = sizeof listens;
  if (::getsockopt(socket.fd(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0 ||
      socket.broken())
    return base::Error{ENOTCONN, bound + ": the socket kept for it does not listen any more"};
  if (socket.parsed_.family == Address::Family::tcp) socket.parsed_.port = bound_port(socket.fd());
  const int flags = ::fcntl(socket.fd(), F_GETFL);
  ::fcntl(socket.fd(), F_SETFL, nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
  return socket;
}

int ListenSocket::suits(const std::string& address, int fd) {
  const auto wanted = parse_address(address);
  const auto bound = bound_to(fd);
  if (!wanted || !bound || wanted->family != bound->family) return 0;
  if (wanted->family == Address::Family::unix_socket) return wanted->path == bound->path ? 2 : 0;
  if (wanted->port != "0" && wanted->port != bound->port) return 0;
  if (host_of(*wanted) != bound->host) return 0;
  if (bound->host == any_ipv6 && !takes_ipv4_too(fd)) return 0;
  return wanted->port == bound->port ? 2 : 1;
}

bool ListenSocket::in_the_way(const std::string& address, int fd) {
  const auto wanted = parse_address(address);
  const auto bound = bound_to(fd);
  if (!wanted || !bound || bound->family != Address::Family::tcp || wanted->port != bound->port) return false;
  const auto every = [](const std::string& host) { return host == any_ipv4 || host == any_ipv6; };
  const std::string host = host_of(*wanted);
  return host == bound->host || every(host) || every(bound->host);
}

std::string ListenSocket::address_of(int fd) {
  const auto bound = bound_to(fd);
  return bound ? in_words(*bound) : "";
}

base::Result<ListenSocket> ListenSocket::adopt(const std::string& address, base::UniqueFd fd,
                                               bool nonblocking) {
  struct stat status {};
  if (const auto parsed = parse_address(address); parsed && parsed->family == Address::Family::unix_socket)
    ::lstat(parsed->path.c_str(), &status);
  auto socket = adopt(address, address, std::move(fd), status.st_ino, nonblocking);
  if (socket) socket->address_ = in_words(socket->parsed_);
  return socket;
}

bool ListenSocket::broken() const {
  // A unix listener shut down for reading alone refuses everybody too, but says POLLRDHUP only.
  pollfd poll{fd_.get(), POLLRDHUP, 0};
  return ::poll(&poll, 1, 0) > 0 && (poll.revents & (POLLHUP | POLLRDHUP | POLLNVAL)) != 0;
}

base::Result<void> ListenSocket::reopen() {
  fd_.reset();
  auto fd = listen_at(parsed_, nonblocking_);
  if (!fd) return fd.error();
  fd_ = *std::move(fd);
  if (parsed_.family == Address::Family::tcp) parsed_.port = bound_port(fd_.get());
  if (struct stat status{}; ::lstat(parsed_.path.c_str(), &status) == 0) inode_ = status.st_ino;
  address_ = in_words(parsed_);
  return {};
}

void ListenSocket::unlink_path() noexcept {
  if (parsed_.family != Address::Family::unix_socket) return;
  const auto place = find_place(parsed_.path);
  struct stat status {};
  if (place && ::fstatat(place->directory.get(), place->name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
      S_ISSOCK(status.st_mode) && status.st_ino == inode_)
    ::unlinkat(place->directory.get(), place->name.c_str(), 0);
}

}  // namespace refork::os
